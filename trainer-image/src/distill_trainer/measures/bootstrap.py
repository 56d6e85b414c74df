"""How sure a ratio of two means is, when both were measured on the same queries."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 1_000_000
"""Drawn numbers held at once."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Student over teacher."""

    value: float
    low: float
    high: float


def retention(
    student: NDArray[np.float64],
    teacher: NDArray[np.float64],
    *,
    samples: int,
    confidence: float,
    seed: int,
) -> Retention | None:
    """Ratio of the means of paired values [queries], with a percentile bootstrap interval.

    Queries are drawn with replacement, both models' values of a query together (Efron and
    Tibshirani 1993, chapter 13). None where the teacher's mean is 0: there is nothing to retain.
    """
    if student.shape != teacher.shape or student.ndim != 1 or len(student) == 0:
        raise ValueError(
            f"student and teacher have {student.shape} and {teacher.shape} values: both need one"
            " for each query"
        )
    if teacher.mean() <= 0:
        return None
    generator = np.random.Generator(np.random.PCG64(seed))
    queries = len(student)
    at_once = max(BLOCK // queries, 1)
    ratios: list[NDArray[np.float64]] = []
    for begin in range(0, samples, at_once):
        drawn = generator.integers(0, queries, size=(min(at_once, samples - begin), queries))
        below = teacher[drawn].mean(axis=1)
        above = student[drawn].mean(axis=1)
        ratios.append(above[below > 0] / below[below > 0])
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(ratios), [tail, 1 - tail])
    return Retention(float(student.mean() / teacher.mean()), float(low), float(high))
