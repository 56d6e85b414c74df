"""What is thrown away before training, each record for one counted reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from distill_api.data import Filter
from numpy.typing import NDArray

DUPLICATE: Final = "duplicates"
SHORT: Final = "too short"
LONG: Final = "too long"
UNCERTAIN: Final = "below the teacher's confidence"
OUTLIER: Final = "outliers of the teacher's score"
LEAK: Final = "shared with a split that is judged on"

type Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Records with a query, by column."""

    queries: Sequence[str]
    """Normalised."""
    documents: Sequence[str]
    """Normalised."""
    lengths: NDArray[np.int64]
    """Characters of query and document, [records, 2]."""
    scores: Scores
    """The teacher's, [records]: cosine of its embeddings, or a reranker's raw score."""
    confidences: Scores | None = None
    """What minTeacherConfidence is compared with, [records]; the scores where None."""


def reasons(candidates: Candidates, settings: Filter) -> list[str | None]:
    """Return for each record why it is thrown away, or None.

    The first reason counts, in the order of the table; outliers are told by what is left.
    """
    found: list[str | None] = [None] * len(candidates.queries)
    if settings.remove_duplicates:
        _mark(found, _repeats(candidates), DUPLICATE)
    _mark(found, (candidates.lengths < settings.min_characters).any(axis=1), SHORT)
    _mark(found, (candidates.lengths > settings.max_characters).any(axis=1), LONG)
    sure = candidates.scores if candidates.confidences is None else candidates.confidences
    by_score(found, candidates.scores, sure, settings)
    return found


def by_score(found: list[str | None], scores: Scores, sure: Scores, settings: Filter) -> None:
    """Mark in place what the teacher is unsure of, and the outliers of what is left then.

    scores, sure: [records]; sure is what minTeacherConfidence is compared with.
    """
    if settings.min_teacher_confidence is not None:
        _mark(found, sure < settings.min_teacher_confidence, UNCERTAIN)
    if settings.outlier_deviations is not None:
        kept = np.array([reason is None for reason in found], dtype=bool)
        _mark(found, _outliers(scores, kept, settings.outlier_deviations), OUTLIER)


def _mark(found: list[str | None], mask: NDArray[np.bool_], reason: str) -> None:
    for index in np.flatnonzero(mask):
        if found[index] is None:
            found[index] = reason


def _repeats(candidates: Candidates) -> NDArray[np.bool_]:
    seen: set[tuple[str, str]] = set()
    repeats = np.zeros(len(candidates.queries), dtype=bool)
    for index, pair in enumerate(zip(candidates.queries, candidates.documents, strict=True)):
        repeats[index] = pair in seen
        seen.add(pair)
    return repeats


def _outliers(scores: Scores, kept: NDArray[np.bool_], deviations: float) -> NDArray[np.bool_]:
    """Tell which scores lie further from the mean of the kept ones than so many deviations."""
    if not kept.any():
        return np.zeros(len(scores), dtype=bool)
    mean, deviation = scores[kept].mean(), scores[kept].std()
    return np.asarray(np.abs(scores - mean) > deviations * max(float(deviation), 1e-12))
