"""Which teacher layer each student layer learns from, and how far its states are from it.

Sources: Jiao et al. 2020, arXiv:1909.10351 (TinyBERT); Romero et al. 2015, arXiv:1412.6550.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from distill_trainer.losses.regression import squared_error


def spread(student_layers: int, teacher_layers: int) -> list[int]:
    """Teacher layer for each student layer, spread evenly; the last learns from the last."""
    return [
        (layer + 1) * teacher_layers // student_layers - 1 if teacher_layers >= student_layers
        else min(layer, teacher_layers - 1)
        for layer in range(student_layers)
    ]  # fmt: skip


def states(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Mean over the layers and the width of the squared difference, of each token: [tokens].

    student, teacher: one tensor [tokens, width] for each matched layer, projected already.
    """
    if len(student) != len(teacher) or not student:
        raise ValueError(
            f"{len(student)} student layers are matched with {len(teacher)} teacher layers: give"
            " one teacher layer for each, and at least one"
        )
    return torch.stack([squared_error(*pair) for pair in zip(student, teacher, strict=True)]).mean(
        dim=0
    )
