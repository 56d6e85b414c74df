"""How far the graphs of an encoder-decoder are from its weights, on the answers of a split."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from distill_trainer.exporting.running import Seq2SeqGraphs
from distill_trainer.quantizing import compared
from distill_trainer.quantizing.compared import Likeness
from distill_trainer.students.seq2seq import Seq2Seq
from distill_trainer.training import seq2seq
from distill_trainer.training.sequences import Taught

MAX_TOKENS: Final = 512
"""Tokens of a pass, padding included: all their logits are in memory at once."""


@torch.inference_mode()
def compare(student: Seq2Seq, graphs: Seq2SeqGraphs, taught: Sequence[Taught]) -> Likeness:
    """Hold the distributions of both against each other where answers are written."""
    return compared.likeness(taught, MAX_TOKENS, lambda some: _sums(student, graphs, some))


def _sums(student: Seq2Seq, graphs: Seq2SeqGraphs, taught: Sequence[Taught]) -> Tensor:
    """Sum over answers' tokens: both losses, the divergence, and how often both agree."""
    batch = seq2seq.pad(taught, student)
    states = student.states(batch.source, batch.mask, batch.before)[batch.learnt]
    found = graphs.logits(batch.source.numpy(), batch.mask.numpy(), batch.before.numpy())
    # Rows that no token has were never taught, and mean nothing.
    own = student.logits(states)[..., : student.known]
    other = torch.from_numpy(found)[batch.learnt][..., : student.known]
    return compared.summed(own, other, batch.labels)
