"""An encoder-decoder that writes in this process: a teacher, or a student that is measured."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from distill_api.teacher import Sampling
from torch import Tensor
from transformers import GenerationConfig

from distill_trainer.losses import chunks
from distill_trainer.students import seq2seq
from distill_trainer.students.seq2seq import Seq2Seq
from distill_trainer.teachers import local_generator
from distill_trainer.teachers.answers import Answer, Ask, Distributions, Tell
from distill_trainer.teachers.local_generator import Heard


@dataclass(frozen=True, slots=True)
class LocalSeq2Seq:
    """An encoder-decoder in evaluation mode, without gradients, in float32."""

    seq2seq: Seq2Seq
    sampling: Sampling
    batch_size: int
    max_length: int | None = None
    """Tokens of a text that is read; what is longer is not answered."""

    def answer(self, asked: Sequence[Ask], tell: Tell | None = None) -> list[Answer]:
        """Answer in batches of the given order; a conversation's texts are read as one."""
        ends = self.seq2seq.ends
        return local_generator.in_batches(self._batch, asked, self.batch_size, ends, tell)

    def close(self) -> None:
        """Nothing to let go of: the process ends soon."""

    def _batch(self, asked: Sequence[Ask], heard: Heard) -> list[Answer]:
        sources = [self._source(one) for one in asked]
        most = min((n for n in (self.max_length, self.seq2seq.positions) if n), default=sys.maxsize)
        fitting = [place for place, source in enumerate(sources) if len(source) <= most]
        found = {place: local_generator.unread(len(source)) for place, source in enumerate(sources)}
        if fitting:
            seeds = [asked[place].seed for place in fitting]
            answered = self._answers([sources[place] for place in fitting], seeds, heard)
            found |= dict(zip(fitting, answered, strict=True))
        return [found[place] for place in range(len(asked))]

    def _answers(
        self, sources: Sequence[list[int]], seeds: Sequence[int], heard: Heard
    ) -> list[Answer]:
        written = self.write(sources, seeds, heard)
        cached: list[Distributions | None] = [None] * len(sources)
        if self.sampling.top_logprobs:
            cached = [*top_k(self.seq2seq, sources, written, self.sampling.top_logprobs)]
        read = local_generator.read
        return [
            read(self.seq2seq, self.sampling, len(source), ids, told)
            for source, ids, told in zip(sources, written, cached, strict=True)
        ]

    def _source(self, asked: Ask) -> list[int]:
        text = "\n\n".join(content for _, content in asked.messages)
        return seq2seq.source_ids(self.seq2seq.tokenizer, text)

    @torch.inference_mode()
    def write(
        self, sources: Sequence[list[int]], seeds: Sequence[int], heard: Heard | None = None
    ) -> list[list[int]]:
        """Return the token ids that the decoder writes for each source, their end included.

        heard: told of each.
        """
        model, pad = self.seq2seq.model, self.seq2seq.tokenizer.pad_token_id
        ids, mask = seq2seq.padded(sources, pad, model.device)
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=self.sampling.max_tokens,
            decoder_start_token_id=self.seq2seq.start,
            eos_token_id=self.seq2seq.ends,
            pad_token_id=pad,
        )
        drawn = []
        if self.sampling.temperature > 0:
            drawn.append(local_generator.Drawn(seeds, self.sampling))
        inputs = {"input_ids": ids, "attention_mask": mask}
        out = local_generator.generated(model, config, drawn, inputs, heard)
        return [local_generator.until_end(row, self.seq2seq.ends) for row in out[:, 1:].tolist()]


@dataclass(frozen=True, slots=True)
class _Known:
    """A head without the rows that no token has."""

    seq2seq: Seq2Seq
    tokens: int

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of the tokens that the tokenizer knows."""
        return self.seq2seq.logits(hidden)[..., : self.tokens]


@torch.inference_mode()
def top_k(
    model: Seq2Seq, sources: Sequence[list[int]], written: Sequence[list[int]], count: int
) -> list[Distributions]:
    """Return the distributions at temperature 1 at each written token, from one forward pass."""
    pad, device = model.tokenizer.pad_token_id, model.model.device
    ids, mask = seq2seq.padded(sources, pad, device)
    before, _ = seq2seq.padded([[model.start, *own[:-1]] for own in written], pad, device)
    hidden = model.states(ids, mask, before)
    size = chunks.size(model.model.get_output_embeddings().weight.shape[0], device)
    head = _Known(model, model.known)
    most = min(count, head.tokens)
    return [
        local_generator.distributions(head, hidden[row, : len(own)], most, size)
        for row, own in enumerate(written)
    ]
