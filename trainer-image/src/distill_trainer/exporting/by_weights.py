"""What the weights of a student write greedily, with their logits; what graphs are held against."""

from collections.abc import Sequence
from typing import Final

import torch
from distill_api.teacher import Sampling
from torch import Tensor

from distill_trainer.exporting import writing
from distill_trainer.exporting.running import Ids
from distill_trainer.exporting.writing import Written
from distill_trainer.students import seq2seq
from distill_trainer.students.causal import Causal
from distill_trainer.students.seq2seq import Seq2Seq
from distill_trainer.teachers import local_generator
from distill_trainer.teachers.local_generator import LocalGenerator
from distill_trainer.teachers.local_seq2seq import LocalSeq2Seq

GREEDY: Final = Sampling(temperature=0, max_tokens=writing.MOST)
CPU: Final = torch.device("cpu")


@torch.inference_mode()
def of_causal(student: Causal, prompts: Sequence[list[int]]) -> Written:
    """Let a causal student write after prompts of token ids, on the processor."""
    rows = LocalGenerator(student, GREEDY, len(prompts)).write(prompts, [0] * len(prompts))
    padded = local_generator.left_padded(prompts, student.tokenizer.pad_token_id, CPU)
    logits = [
        student.model(input_ids=torch.tensor([prompt + own])).logits[0, len(prompt) - 1 : -1]
        for prompt, own in zip(prompts, rows, strict=True)
    ]
    return _written(padded["input_ids"], padded["attention_mask"], rows, logits)


@torch.inference_mode()
def of_seq2seq(student: Seq2Seq, sources: Sequence[list[int]]) -> Written:
    """Let an encoder-decoder write after sources of token ids, on the processor."""
    rows = LocalSeq2Seq(student, GREEDY, len(sources)).write(sources, [0] * len(sources))
    ids, mask = seq2seq.padded(sources, student.tokenizer.pad_token_id, CPU)
    logits = [
        student.model(
            input_ids=torch.tensor([source]),
            decoder_input_ids=torch.tensor([[student.start, *own[:-1]]]),
        ).logits[0]
        for source, own in zip(sources, rows, strict=True)
    ]
    return _written(ids, mask, rows, logits)


def _written(
    ids: Tensor, mask: Tensor, rows: Sequence[list[int]], logits: Sequence[Tensor]
) -> Written:
    as_ids: tuple[Ids, Ids] = ids.numpy(), mask.numpy()
    return Written(*as_ids, rows, [one.numpy() for one in logits])
