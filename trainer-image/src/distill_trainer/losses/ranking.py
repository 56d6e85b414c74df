"""Losses on how far a good document stands above a bad one.

| function   | inputs                                                | target               |
|------------|-------------------------------------------------------|----------------------|
| margin_mse | student's scores of a positive and of hard negatives  | the teacher's margins |

Source: Hofstätter et al. 2020, arXiv:2010.02666.
"""

from torch import Tensor

from distill_trainer.losses.reduction import unit, wide


def scores(queries: Tensor, documents: Tensor) -> Tensor:
    """Cosine of each query [rows, width] with its documents [rows, k, width]; float32 [rows, k]."""
    return (unit(queries).unsqueeze(1) * unit(documents)).sum(dim=-1)


def margin_mse(
    student_positive: Tensor,
    student_negative: Tensor,
    teacher_positive: Tensor,
    teacher_negative: Tensor,
    keep: Tensor,
) -> Tensor:
    """Squared difference of the margins of student and teacher, mean over kept negatives; [rows].

    positive: scores [rows, 1]; negative: scores [rows, negatives]; keep bool [rows, negatives].
    A row without kept negatives gives 0 and must be left out of the mean by the caller.
    """
    student = wide(student_positive) - wide(student_negative)
    teacher = wide(teacher_positive) - wide(teacher_negative)
    # ((s+ - s-) - (t+ - t-))²
    # Masked before the square, so that NaN in a masked place has no gradient either.
    difference = (student - teacher).masked_fill(~keep, 0.0)
    return difference.square().sum(dim=1) / keep.sum(dim=1).clamp(min=1)
