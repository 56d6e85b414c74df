"""What the evidence of a rollout says: a verdict for each metric with its numbers, and for all.

NoData < Undecided < Healthy or Regressed; EnvironmentFault takes the blame off the student. Missing
data never promotes and never blames.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from typing import Self

from distill_operator.statistics.confidence import Interval


class Verdict(StrEnum):
    """What is known of a metric."""

    NO_DATA = "NoData"
    UNDECIDED = "Undecided"
    HEALTHY = "Healthy"
    REGRESSED = "Regressed"
    ENVIRONMENT_FAULT = "EnvironmentFault"


PRECEDENCE = (
    Verdict.HEALTHY,
    Verdict.UNDECIDED,
    Verdict.NO_DATA,
    Verdict.ENVIRONMENT_FAULT,
    Verdict.REGRESSED,
)
"""Of several verdicts the last in this row holds: rollback is OR, promotion is AND."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted, and what it makes probable.

    count: requests or pairs. failures: of requests; None for scores. since: requests before these
    that were set aside because the student was found fine by then. score: mean of the scores.
    """

    count: int = 0
    failures: int | None = None
    since: int = 0
    estimate: float | None = None
    interval: Interval | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """A log-likelihood ratio or log-wealth, and the bounds that decide.

    For a rate, `lower` < `llr` < `upper`. For paired quality `llr` is the log-wealth of the bet
    that quality fell, with `upper`; `proof` that of the bet that it holds, with `proof_bound`.
    """

    llr: float
    upper: float
    lower: float | None = None
    proof: float | None = None
    proof_bound: float | None = None

    @property
    def towards_rollback(self) -> float:
        """How far the way to Regressed is gone, from 0 to 1."""
        return min(1.0, max(0.0, self.llr / self.upper))

    @property
    def towards_healthy(self) -> float:
        """How far the way to Healthy is gone, from 0 to 1."""
        if self.proof is not None and self.proof_bound is not None:
            return min(1.0, max(0.0, self.proof / self.proof_bound))
        return min(1.0, max(0.0, self.llr / self.lower)) if self.lower else 0.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """How many more requests (or pairs) of the student decide, and how long they take to come."""

    requests: int
    seconds: float | None = None
    stalled: bool = False
    """None arrive at present."""

    @classmethod
    def at(cls, requests: int, per_second: float | None) -> Self:
        """Forecast at a rate: None where none is known yet, 0 where none arrive."""
        seconds = requests / per_second if per_second else None
        return cls(requests, seconds, stalled=per_second == 0)


@dataclass(frozen=True, slots=True)
class Reference:
    """A constant that scores are compared with in place of the teacher's.

    whose: for example "its offline evaluation's". score: above 0 and up to 1; None where it is not
    known, and `unknown` then says why, as a clause.
    """

    whose: str
    score: float | None = None
    unknown: str | None = None

    def __post_init__(self) -> None:
        if (self.score is None) == (self.unknown is None):
            raise ValueError(f"{self.whose} score: expected a number, or why there is none")
        if self.score is not None and not 0 < self.score <= 1:
            raise ValueError(
                f"{self.whose} score is {self.score}: expected one above 0 and up to 1, as shares"
                " of it are compared. Leave the reference out with a reason"
            )


@dataclass(frozen=True, slots=True)
class Saving:
    """What the student's requests cost, and what they would have cost with the teacher.

    share: of the teacher's price that is saved, negative where the student costs more. seconds:
    that were watched, of the `window` that is asked for.
    """

    currency: str
    student: float
    teacher: float
    share: float
    seconds: float
    window: float


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict of one metric with the numbers that lead to it.

    limit: the rate, or the ratio to the teacher, from which the student is called regressed; fine:
    the one up to which it is called healthy. warn: worth a warning, which moves no traffic.
    exhausted: enough was seen to decide in nearly all cases and it is still open, because the truth
    lies between `fine` and `limit`; waiting longer helps little. relative: `fine` and `limit` are
    multiples of the teacher's rate. reference: what scores are compared with, where it is not the
    teacher's. saving: the sums of a cost, whose `fine` and `limit` are the share to be saved.
    """

    metric: str
    what: str
    verdict: Verdict
    limit: float
    fine: float
    student: Counted = Counted()
    teacher: Counted | None = None
    evidence: Evidence | None = None
    forecast: Forecast | None = None
    effect: float = 1.0
    level: float = 0.05
    warn: bool = False
    exhausted: bool = False
    critical: bool = True
    relative: bool = False
    reference: Reference | None = None
    saving: Saving | None = None


def both(one: Verdict, other: Verdict) -> Verdict:
    """Return the verdict of two metrics together."""
    return max(one, other, key=PRECEDENCE.index)


def combine(findings: Iterable[Finding]) -> Verdict:
    """Return the verdict of all metrics.

    Any metric may call for rollback; only critical ones can withhold promotion. Without a critical
    metric nothing is known.
    """
    told = tuple(findings)
    critical = [f.verdict for f in told if f.critical]
    blamed = [f.verdict for f in told if f.verdict is Verdict.REGRESSED]
    return reduce(both, [*critical[1:], *blamed], critical[0] if critical else Verdict.NO_DATA)


def promotes(findings: Iterable[Finding]) -> bool:
    """Say whether every critical metric, and there is one, is proven healthy."""
    return combine(findings) is Verdict.HEALTHY


def slowest(findings: Iterable[Finding]) -> Forecast | None:
    """Return the forecast of the critical metric that takes longest; None if one is unknown."""
    open_ones = [f for f in findings if f.critical and f.verdict is Verdict.UNDECIDED]
    told = [f.forecast for f in open_ones if f.forecast is not None]
    if not told or len(told) < len(open_ones):
        return None
    return max(told, key=lambda f: (f.seconds is None, f.seconds or 0.0, f.requests))
