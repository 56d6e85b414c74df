"""The recipe's sum: every loss at every width, weighted, each part visible on its own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from distill_api.recipe import EmbeddingRecipe
from torch import Tensor

from distill_trainer.losses import contrastive, matryoshka, ranking, regression
from distill_trainer.losses.reduction import masked_mean
from distill_trainer.losses.rows import Rows

Projection = Callable[[Tensor], Tensor]
"""A student's embedding [texts, width] → the teacher's space [texts, teacher width]."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A weighted sum and what it was made of."""

    total: Tensor
    """Scalar with gradient."""
    parts: dict[str, Tensor]
    """Each loss before its weight, detached; `mse@128` is mse at the first 128 dimensions."""


def embedding_loss(
    recipe: EmbeddingRecipe,
    student: Tensor,
    teacher: Tensor,
    rows: Rows,
    projections: dict[int, Projection],
) -> Loss:
    """Add up the recipe's losses over one batch.

    student [texts, width]: one row for each distinct text of the batch; teacher
    [texts, teacher width]: the cached embeddings of the same texts; projections: for each width
    that is compared with the teacher and differs from it (or is cut), its map to the teacher's
    space. Raises ValueError when no loss can be computed from this batch.
    """
    full = student.shape[-1]
    cuts = recipe.matryoshka
    widths = matryoshka.weights_of_widths(
        full, cuts.dimensions if cuts else (), cuts.weights if cuts else None
    )
    parts: dict[str, Tensor] = {}
    total = student.new_zeros((), dtype=torch.float32)
    for width, factor in widths.items():
        embeddings = matryoshka.cut(student, width)
        to_teacher = projections.get(width, _as_it_is)
        for name, weight, value in _at_one_width(recipe, embeddings, teacher, rows, to_teacher):
            parts[name if width == full else f"{name}@{width}"] = value.detach()
            total = total + factor * weight * value
    if not parts:
        raise ValueError(
            "no loss of the recipe can be computed from this batch: it holds no hard negatives,"
            " and marginMse is the only loss"
        )
    return Loss(total, parts)


def _at_one_width(
    recipe: EmbeddingRecipe, student: Tensor, teacher: Tensor, rows: Rows, to_teacher: Projection
) -> Iterator[tuple[str, float, Tensor]]:
    """Yield (name, weight, value) of each loss that the recipe names."""
    if recipe.contrastive:
        value = _contrastive(
            student,
            rows,
            temperature=recipe.contrastive.temperature,
            symmetric=recipe.contrastive.symmetric,
        )
        yield "contrastive", recipe.contrastive.weight, value
    if recipe.margin_mse and rows.has_negatives:
        yield "marginMse", recipe.margin_mse.weight, _margin_mse(student, teacher, rows)
    if recipe.teacher_contrastive or recipe.mse or recipe.cosine:
        projected = to_teacher(student)
        if recipe.teacher_contrastive:
            knobs = recipe.teacher_contrastive
            per_text = contrastive.student_to_teacher(
                projected, teacher, temperature=knobs.temperature
            )
            yield "teacherContrastive", knobs.weight, masked_mean(per_text)
        if recipe.mse:
            yield (
                "mse",
                recipe.mse.weight,
                masked_mean(regression.squared_error(projected, teacher)),
            )
        if recipe.cosine:
            yield "cosine", recipe.cosine.weight, masked_mean(regression.cosine(projected, teacher))


def _contrastive(student: Tensor, rows: Rows, *, temperature: float, symmetric: bool) -> Tensor:
    """Mean over the records, of both directions where symmetric."""
    queries, documents = student[rows.query], student[rows.candidates]
    there = contrastive.query_to_document(
        queries, documents, rows.positive, temperature=temperature, excluded=rows.excluded
    )
    if not symmetric:
        return masked_mean(there)
    back = contrastive.document_to_query(
        queries, documents, rows.positive, temperature=temperature, excluded=rows.excluded
    )
    return (masked_mean(there) + masked_mean(back)) / 2


def _margin_mse(student: Tensor, teacher: Tensor, rows: Rows) -> Tensor:
    """Mean over the records that have a hard negative."""
    keep = rows.negatives >= 0
    chosen = torch.cat([rows.positive.unsqueeze(1), rows.negatives.clamp(min=0)], dim=1)
    documents = rows.candidates[chosen]
    of_student = ranking.scores(student[rows.query], student[documents])
    of_teacher = ranking.scores(teacher[rows.query], teacher[documents])
    per_record = ranking.margin_mse(
        of_student[:, :1], of_student[:, 1:], of_teacher[:, :1], of_teacher[:, 1:], keep
    )
    return masked_mean(per_record, keep.any(dim=1))


def _as_it_is(embeddings: Tensor) -> Tensor:
    return embeddings
