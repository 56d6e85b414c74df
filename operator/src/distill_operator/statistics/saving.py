"""The verdict of cost: what the student saves of the teacher's price, a sum and no test.

Prices are given and not estimated, so there is nothing to be unsure about. The verdict waits for
traffic all the same: the sum of what was really sent is what a person can check against a bill.
"""

import math
from dataclasses import dataclass

from distill_operator.statistics.verdict import (
    Counted,
    Finding,
    Forecast,
    Reference,
    Saving,
    Verdict,
)

MILLION = 1_000_000
ROUNDING = 1e-9
"""So that a student at 3 of 10 saves 70 %, whatever binary fractions make of it."""
UNPRICED = Reference(
    "the teacher's price",
    unknown="prices.teacherMillionRequests, above 0, and prices.studentMillionRequests are not"
    " both given",
)


@dataclass(frozen=True, slots=True)
class Prices:
    """What a million requests cost with each arm, in one currency."""

    currency: str
    teacher: float
    student: float

    def __post_init__(self) -> None:
        if not self.teacher > 0:
            raise ValueError(
                f"a million requests of the teacher cost {self.teacher}: expected more than 0, as"
                " shares of it are saved. Leave the prices out"
            )

    @property
    def share(self) -> float:
        """Share of the teacher's price that the student saves; negative where it costs more."""
        return 1 - self.student / self.teacher


@dataclass(frozen=True, slots=True)
class Rule:
    """How a cost is judged.

    least: share of the teacher's price that has to be saved. window: seconds that are watched
    before anything is decided. prices: None where they are not given.
    """

    metric: str
    least: float
    window: float
    prices: Prices | None
    critical: bool = True


@dataclass(frozen=True, slots=True)
class Watched:
    """What was seen of the student: its requests, and seconds in which its share was verified."""

    requests: int = 0
    seconds: float = 0.0


def judge(watched: Watched, rule: Rule, *, per_second: float | None = None) -> Finding:
    """Judge the cost as it stands; per_second: requests of the student, for the forecast."""
    return _finding(watched, rule, decide(watched, rule), per_second)


def unavailable(watched: Watched, rule: Rule) -> Finding:
    """Return the finding while nothing is counted: what was counted before is kept."""
    return _finding(watched, rule, Verdict.NO_DATA, None)


def decide(watched: Watched, rule: Rule) -> Verdict:
    """Return the verdict; open until the window has passed.

    Undecided lets early steps pass, where NoData would hold the first one for the whole window.
    """
    if rule.prices is None or not watched.requests:
        return Verdict.NO_DATA
    if watched.seconds < rule.window:
        return Verdict.UNDECIDED
    return Verdict.HEALTHY if _enough(rule.prices, rule) else Verdict.REGRESSED


def _enough(prices: Prices, rule: Rule) -> bool:
    return prices.share >= rule.least - ROUNDING


def _finding(watched: Watched, rule: Rule, verdict: Verdict, per_second: float | None) -> Finding:
    prices, is_open = rule.prices, verdict is Verdict.UNDECIDED
    return Finding(
        metric=rule.metric,
        what="cost",
        verdict=verdict,
        limit=rule.least,
        fine=rule.least,
        student=Counted(watched.requests, estimate=prices.share if prices else None),
        forecast=_forecast(watched, rule, per_second) if is_open else None,
        # Known from the start: who asks for too little should not learn it after a day.
        warn=is_open and prices is not None and not _enough(prices, rule),
        critical=rule.critical,
        reference=UNPRICED if prices is None else None,
        saving=_saving(watched, rule, prices) if prices else None,
    )


def _saving(watched: Watched, rule: Rule, prices: Prices) -> Saving:
    millions = watched.requests / MILLION
    return Saving(
        currency=prices.currency,
        student=millions * prices.student,
        teacher=millions * prices.teacher,
        share=prices.share,
        seconds=watched.seconds,
        window=rule.window,
    )


def _forecast(watched: Watched, rule: Rule, per_second: float | None) -> Forecast:
    left = rule.window - watched.seconds
    return Forecast(math.ceil((per_second or 0.0) * left), left)
