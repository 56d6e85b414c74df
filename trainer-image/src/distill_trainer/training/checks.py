"""Refusals before the first step: what cannot work ends here, with a sentence."""

import numpy as np
from distill_api.names import Reason
from distill_api.recipe import EmbeddingRecipe
from distill_api.training import Training
from numpy.typing import NDArray

from distill_trainer.errors import BadInput
from distill_trainer.training.pairs import Pairs

SAMPLE = 512
"""Teacher embeddings that are looked at."""
SMALLEST_SPREAD = 1e-4
"""Cosines or margins of a teacher that differ by less teach nothing but rounding."""


def taught(recipe: EmbeddingRecipe, pairs: Pairs) -> Pairs:
    """Return the records that a loss of the recipe learns from.

    One without a hard negative teaches nothing where margins are all that is compared: a batch of
    such records alone would have no loss.
    """
    others = recipe.contrastive or recipe.teacher_contrastive or recipe.mse or recipe.cosine
    return pairs.some(pairs.compared) if recipe.margin_mse and not others else pairs


def recipe_fits(recipe: EmbeddingRecipe, training: Training, pairs: Pairs, width: int) -> None:
    """Refuse a recipe that the data or the student's width [dimensions] cannot serve."""
    if recipe.margin_mse and not pairs.compared.any():
        raise BadInput(
            Reason.BAD_RECIPE,
            "recipe.embedding.marginMse learns from hard negatives and none were found: lower"
            " data.hardNegatives.relativeMargin, raise rangeMax, or remove marginMse",
        )
    if training.batch_size > len(pairs):
        raise BadInput(
            Reason.BAD_RECIPE,
            f"training.batchSize is {training.batch_size} and the training split has only"
            f" {len(pairs)} records that the recipe's losses learn from: lower batchSize to at"
            f" most {len(pairs)}, or bring more data",
        )
    too_wide = [d for d in (recipe.matryoshka.dimensions if recipe.matryoshka else []) if d > width]
    if too_wide:
        raise BadInput(
            Reason.BAD_RECIPE,
            f"recipe.embedding.matryoshka.dimensions names {too_wide[0]}, and the student's"
            f" embedding has {width} dimensions: remove what is larger, or raise"
            " student.embeddingDimension",
        )


def teacher_teaches(
    recipe: EmbeddingRecipe, teacher: NDArray[np.float32], pairs: Pairs, *, seed: int
) -> None:
    """Refuse teacher embeddings [texts, width] that are broken or all alike."""
    generator = np.random.Generator(np.random.PCG64(seed))
    chosen = generator.permutation(len(pairs))[:SAMPLE]
    queries, documents = teacher[pairs.queries[chosen]], teacher[pairs.documents[chosen]]
    _refuse_broken(np.concatenate([queries, documents]))
    cosines = _unit(queries) @ _unit(documents).T
    if len(cosines) > 1 and float(np.ptp(cosines)) < SMALLEST_SPREAD:
        raise BadInput(
            Reason.BAD_MODEL,
            f"the teacher finds all texts alike (cosines between {cosines.min():.5f} and"
            f" {cosines.max():.5f}), so there is nothing to learn from it: check teacher.model or"
            " endpoint, teacher.prompts and maxLength",
        )
    if recipe.margin_mse:
        _refuse_flat_margins(teacher, pairs, chosen)


def _refuse_broken(embeddings: NDArray[np.float32]) -> None:
    finite = np.isfinite(embeddings).all(axis=1)
    if not finite.all() or not embeddings[finite].any(axis=1).all():
        raise BadInput(
            Reason.BAD_MODEL,
            "the teacher's embeddings contain rows of zeros, NaN or infinity: the teacher is"
            " broken, or was run in a number format that is too narrow for it; fix it and label"
            " again",
        )


def _refuse_flat_margins(
    teacher: NDArray[np.float32], pairs: Pairs, chosen: NDArray[np.int64]
) -> None:
    negatives = pairs.negatives[chosen]
    rows, columns = np.nonzero(negatives >= 0)
    queries = _unit(teacher[pairs.queries[chosen[rows]]])
    good = _unit(teacher[pairs.documents[chosen[rows]]])
    bad = _unit(teacher[negatives[rows, columns]])
    margins = (queries * (good - bad)).sum(axis=1)
    if len(margins) > 1 and float(np.ptp(margins)) < SMALLEST_SPREAD:
        raise BadInput(
            Reason.BAD_MODEL,
            f"the teacher's margins between positives and hard negatives are all"
            f" {margins.mean():.5f}: recipe.embedding.marginMse would learn a constant; remove it"
            " or use another teacher",
        )


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-12), dtype=np.float32)
