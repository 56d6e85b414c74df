"""Students as they may turn out to be, and what of them is seen minute by minute."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

type Counts = NDArray[np.int64]
type Scores = NDArray[np.float64]
TEACHER_SCORE = 0.85
TEACHER_SLOW = 0.02
SCORE_CONCENTRATION = 10.0
"""Of the beta distributions of scores: a pair's difference then has a deviation of about 0.12."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A student, its traffic, and how its rollout should end.

    failing: the rate at a minute of the rollout; teacher: that of the teacher; kept: the ratio of
    the mean scores; per_second: requests of both arms; pairs: scored a minute; together: the
    correlation of failures within a minute; good: to be promoted (True) or rolled back (False).
    """

    name: str
    good: bool
    failing: Callable[[int], float] = lambda _: 0.003
    teacher: Callable[[int], float] = lambda _: 0.003
    slow: float = 0.02
    kept: float = 0.99
    per_second: float = 10.0
    pairs: int = 4
    together: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look finds, for all rollouts at once: [rollouts] and [rollouts, pairs]."""

    student: Counts
    teacher: Counts
    student_failures: Counts
    teacher_failures: Counts
    student_slow: Counts
    teacher_slow: Counts
    student_scores: Scores
    teacher_scores: Scores


def at(rate: float) -> Callable[[int], float]:
    """Fail at one rate, always."""
    return lambda _: rate


def during(first: int, last: int, rate: float, otherwise: float = 0.003) -> Callable[[int], float]:
    """Fail at one rate from one minute until before another."""
    return lambda minute: rate if first <= minute < last else otherwise


SCENARIOS = (
    Scenario("healthy, 0.3 % fail", good=True),
    Scenario("at the limit, 0.5 % fail", good=True, failing=at(0.005)),
    Scenario("bad, 1 % fail", good=False, failing=at(0.01)),
    Scenario("bad, 2 % fail", good=False, failing=at(0.02)),
    Scenario("crashes, 50 % fail", good=False, failing=at(0.5)),
    Scenario("breaks after an hour, 50 % fail", good=False, failing=during(60, 10**6, 0.5)),
    Scenario(
        "outage of both arms, 10 minutes",
        good=True,
        failing=during(20, 30, 0.2),
        teacher=during(20, 30, 0.2),
    ),
    Scenario("slow, 5 % above the limit", good=False, slow=0.05),
    Scenario("quality -2 %", good=True, kept=0.98),
    Scenario("quality -5 %", good=False, kept=0.95),
    Scenario("quality -8 %", good=False, kept=0.92),
    Scenario("low traffic, healthy", good=True, per_second=1.0, pairs=2),
    Scenario("low traffic, 2 % fail", good=False, failing=at(0.02), per_second=1.0, pairs=2),
    Scenario("failures in bursts, 0.3 % fail", good=True, together=0.005),
)


def look(
    told: Scenario, minute: int, weights: Scores, minutes: int, rng: np.random.Generator
) -> Seen:
    """Draw what `minutes` from `minute` on bring; weights: the student's share [rollouts]."""
    requests = rng.poisson(told.per_second * 60, (minutes, len(weights)))
    student = rng.binomial(requests, weights)
    teacher = requests - student
    # Failures come together within a minute, not within a look.
    rates = np.array([_rates(told, told.failing(minute), len(weights), rng) for _ in requests])
    size = (len(weights), told.pairs * minutes)
    scores = _beta(np.full(size, TEACHER_SCORE), rng)
    return Seen(
        student.sum(axis=0),
        teacher.sum(axis=0),
        rng.binomial(student, rates).sum(axis=0),
        rng.binomial(teacher, told.teacher(minute)).sum(axis=0),
        rng.binomial(student, told.slow).sum(axis=0),
        rng.binomial(teacher, TEACHER_SLOW).sum(axis=0),
        # The mean given the teacher's score is `kept` of it, so the ratio of means is exact.
        _beta(told.kept * scores, rng),
        scores,
    )


def _rates(told: Scenario, rate: float, count: int, rng: np.random.Generator) -> Scores:
    """Draw each rollout's rate in this minute: one rate, or a beta where failures come together."""
    if not told.together:
        return np.full(count, rate)
    spread = 1 / told.together - 1
    return rng.beta(rate * spread, (1 - rate) * spread, count)


def _beta(means: Scores, rng: np.random.Generator) -> Scores:
    # A mean of exactly 0 or 1 has no beta distribution.
    inside = np.clip(means, 1e-9, 1 - 1e-9)
    return rng.beta(inside * SCORE_CONCENTRATION, (1 - inside) * SCORE_CONCENTRATION)
