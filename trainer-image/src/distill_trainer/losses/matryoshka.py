"""Cutting an embedding to its first dimensions, for losses that are repeated at several widths.

Source: Kusupati et al. 2022, arXiv:2205.13147.
"""

from collections.abc import Sequence

from torch import Tensor

from distill_trainer.losses.reduction import unit


def cut(embeddings: Tensor, width: int) -> Tensor:
    """First width dimensions of embeddings [rows, full], at length 1; float32 [rows, width].

    The full width is returned as it is, so that a squared error sees the student's own length.
    """
    full = embeddings.shape[-1]
    if width > full:
        raise ValueError(f"an embedding of width {full} cannot be cut to {width} dimensions")
    return embeddings if width == full else unit(embeddings[..., :width])


def weights_of_widths(
    full: int, dimensions: Sequence[int], weights: Sequence[float] | None
) -> dict[int, float]:
    """Width → factor, the full width first: it always counts, with factor 1 unless it is listed.

    Raises ValueError for a width above the full one.
    """
    too_wide = [width for width in dimensions if width > full]
    if too_wide:
        raise ValueError(
            f"recipe.embedding.matryoshka.dimensions names {too_wide[0]}, and the student's"
            f" embedding has {full} dimensions: remove what is larger"
        )
    listed = dict(zip(dimensions, weights or [1.0] * len(dimensions), strict=True))
    factors = {full: 1.0} | listed
    return {width: factors[width] for width in sorted(factors, reverse=True)}
