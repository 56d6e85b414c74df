"""The one way in which losses of rows become a number."""

import torch
from torch import Tensor


def masked_mean(per_row: Tensor, keep: Tensor | None = None) -> Tensor:
    """Mean of per_row [rows] over the rows where keep (bool [rows]) is true; float32 scalar.

    Rows that are not kept change neither the value nor the gradient.
    Raises ValueError when nothing is kept: a loss of no rows would train nothing and look perfect.
    """
    if keep is None:
        keep = torch.ones_like(per_row, dtype=torch.bool)
    kept = int(keep.sum())
    if kept == 0:
        raise ValueError(
            f"a loss over {per_row.numel()} rows keeps none of them: it needs at least one"
        )
    return torch.where(keep, wide(per_row), 0.0).sum() / kept


def wide(tensor: Tensor) -> Tensor:
    """Return the tensor in float32 at least: sums of half precision would lose their last bits."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def unit(vectors: Tensor) -> Tensor:
    """Rows of vectors [rows, width] at length 1, in float32 at least."""
    return torch.nn.functional.normalize(wide(vectors), dim=-1)


def same_shape(student: Tensor, teacher: Tensor) -> None:
    """Refuse two tensors that cannot be compared row by row."""
    if student.shape != teacher.shape or student.dim() != 2:
        raise ValueError(
            f"student embeddings have shape {tuple(student.shape)} and teacher embeddings"
            f" {tuple(teacher.shape)}: both must be [rows, width] alike; project the student first"
        )
