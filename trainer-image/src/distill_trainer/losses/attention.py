"""Attention transfer: the student looks where its teacher looks.

Sources: Wang et al. 2020, arXiv:2002.10957 (MiniLM: KL of attention distributions); Zagoruyko and
Komodakis 2017, arXiv:1612.03928. With unequal head counts both sides are averaged over their
heads, which gives one distribution over the keys each.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from distill_trainer.losses.reduction import wide


def transfer(student: Sequence[Tensor], teacher: Sequence[Tensor], keep: Tensor) -> Tensor:
    """Mean over layers and heads of KL(teacher's attention ‖ student's), of each token: [tokens].

    student, teacher: probabilities [tokens, heads, keys] for each matched layer. keep: bool
    [tokens, keys], the keys that the token may look at; others change nothing.
    """
    if len(student) != len(teacher) or not student:
        raise ValueError(
            f"{len(student)} student layers are matched with {len(teacher)} teacher layers: give"
            " one teacher layer for each, and at least one"
        )
    return torch.stack(
        [_of_layer(*pair, keep) for pair in zip(student, teacher, strict=True)]
    ).mean(dim=0)


def _of_layer(student: Tensor, teacher: Tensor, keep: Tensor) -> Tensor:
    if student.shape[1] != teacher.shape[1]:
        student, teacher = student.mean(dim=1, keepdim=True), teacher.mean(dim=1, keepdim=True)
    seen = keep.unsqueeze(1)
    # sum_k t_k (log t_k - log s_k); a key of probability 0 in the teacher adds nothing
    ratio = _log(teacher, seen) - _log(student, seen)
    per_head = torch.where(seen, wide(teacher) * ratio, 0.0).sum(dim=-1)
    return per_head.mean(dim=1)


def _log(probabilities: Tensor, keep: Tensor) -> Tensor:
    """Log of kept probabilities, 0 elsewhere; underflow is held at the smallest normal number."""
    least = torch.finfo(torch.float32).tiny
    return torch.where(keep, wide(probabilities), 1.0).clamp(min=least).log()
