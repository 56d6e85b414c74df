"""How far the graphs of an encoder-decoder are from its weights, on the answers of a split."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from distill_api.recipe import Divergence
from torch import Tensor

from distill_trainer.exporting.running import Seq2SeqGraphs
from distill_trainer.losses import logits, tokens
from distill_trainer.quantizing.compared import ANSWERS, MAX_ROWS, Likeness
from distill_trainer.students.seq2seq import Seq2Seq
from distill_trainer.training import encode, seq2seq
from distill_trainer.training.sequences import Taught

MAX_TOKENS: Final = 512
"""Tokens of a pass, padding included: all their logits are in memory at once."""


@torch.inference_mode()
def compare(student: Seq2Seq, graphs: Seq2SeqGraphs, taught: Sequence[Taught]) -> Likeness:
    """Hold the distributions of both against each other where answers are written."""
    stride = max(len(taught) // ANSWERS, 1)
    some = taught[::stride][:ANSWERS]
    lengths = np.array([len(one) for one in some], dtype=np.int64)
    sums, count = torch.zeros(4, dtype=torch.float64), sum(len(one.target) for one in some)
    for part in encode.micro_batches(lengths, MAX_TOKENS, MAX_ROWS):
        sums += _sums(student, graphs, [some[int(place)] for place in part])
    nll_before, nll_after, divergence, same = (sums / count).tolist()
    return Likeness(-nll_before, -nll_after, divergence, same, count)


def _sums(student: Seq2Seq, graphs: Seq2SeqGraphs, taught: Sequence[Taught]) -> Tensor:
    """Sum over answers' tokens: both losses, the divergence, and how often both agree."""
    batch = seq2seq.pad(taught, student)
    states = student.states(batch.source, batch.mask, batch.before)[batch.learnt]
    found = graphs.logits(batch.source.numpy(), batch.mask.numpy(), batch.before.numpy())
    # Rows that no token has were never taught, and mean nothing.
    own = student.logits(states)[..., : student.known]
    other = torch.from_numpy(found)[batch.learnt][..., : student.known]
    summed = (
        tokens.nll(own, batch.labels),
        tokens.nll(other, batch.labels),
        logits.divergence(other, own, Divergence.FORWARD_KL, 1.0),
        own.argmax(-1) == other.argmax(-1),
    )
    return torch.stack([one.double().sum() for one in summed])
