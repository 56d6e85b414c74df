"""Queries that the teacher answers and the student does not: the error analysis."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill_trainer.measures.retrieval import Ranking, Relevant


@dataclass(frozen=True, slots=True)
class Mistake:
    """One query on which the student lost."""

    query: int
    """Row of the query."""
    lost: float
    """Teacher's value of the measure less the student's."""
    relevant: int
    """Row of a document that answers it."""
    student_rank: int | None
    """Place of the best answer in the student's ranking, from 1; None below its depth."""
    teacher_rank: int | None
    """Likewise the teacher's."""
    student_first: int
    """Row of the document that the student put first."""


def regressions(student: NDArray[np.float64], teacher: NDArray[np.float64]) -> int:
    """Count the queries on which the student is worse; values of one measure [queries]."""
    return int((student < teacher).sum())


def worst(
    values: tuple[NDArray[np.float64], NDArray[np.float64]],
    rankings: tuple[Ranking, Ranking],
    relevant: Relevant,
    *,
    limit: int,
) -> Sequence[Mistake]:
    """List the queries on which the student lost most, at most limit of them.

    values: one measure of (student, teacher), each [queries]. rankings: of both likewise.
    """
    student, teacher = values
    lost = teacher - student
    order = np.argsort(-lost, kind="stable")[:limit]
    return [
        _mistake(int(q), float(lost[q]), rankings, relevant[int(q)]) for q in order if lost[q] > 0
    ]


def _mistake(
    query: int, lost: float, rankings: tuple[Ranking, Ranking], answers: frozenset[int]
) -> Mistake:
    by_student, by_teacher = (ranking.documents[query].tolist() for ranking in rankings)
    found = [document for document in by_teacher if document in answers]
    return Mistake(
        query=query,
        lost=lost,
        relevant=found[0] if found else min(answers),
        student_rank=_rank(by_student, answers),
        teacher_rank=_rank(by_teacher, answers),
        student_first=by_student[0],
    )


def _rank(found: list[int], answers: frozenset[int]) -> int | None:
    return next((place for place, d in enumerate(found, start=1) if d in answers), None)
