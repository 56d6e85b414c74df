"""The verdict of quality: whether the student keeps enough of the teacher's scores.

Two bets at once: that quality fell below `fine` (then it regressed) and that it holds above `limit`
(then it is healthy). Between the two lies the zone in which either is acceptable, as between p0 and
p1 of a rate: at `fine` the student is rolled back with probability alpha at most, at `limit` it is
called healthy with probability beta at most.

In place of the teacher a constant may be the reference: pairs (s, c) of scores and the constant
make the same games about E[s] and r c, with one sample instead of two.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from distill_operator.statistics import betting, budget, confidence
from distill_operator.statistics.betting import Bet, Direction, Wealth
from distill_operator.statistics.confidence import Interval
from distill_operator.statistics.verdict import (
    Counted,
    Evidence,
    Finding,
    Forecast,
    Reference,
    Verdict,
)

NOTHING = 1e-6
"""A mean score of the teacher below which a ratio to it says nothing."""
MOST_PAIRS = 20_000
"""Pairs that decide in nearly all cases."""
type Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Rule:
    """How paired quality is judged.

    fine, limit: ratios of the student's mean score to the teacher's, for example 0.98 and 0.95;
    warn: a ratio worth a warning. planned: pairs at which the shown interval is tightest. most:
    pairs after which an open test is called exhausted. reference: the constant that takes the
    teacher's place.
    """

    metric: str
    what: str
    fine: float
    limit: float
    alpha: float
    beta: float
    warn: float | None = None
    level: float = 0.05
    planned: int = 500
    most: int = MOST_PAIRS
    critical: bool = True
    reference: Reference | None = None

    def __post_init__(self) -> None:
        if not 0 < self.limit < self.fine:
            raise ValueError(
                f"quality is fine from {self.fine} and regressed from {self.limit} of the"
                " teacher's: expected the second below the first, both above 0"
            )


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over all pairs, of student scores s and teacher scores t."""

    pairs: int = 0
    student: float = 0.0
    teacher: float = 0.0
    student_squared: float = 0.0
    teacher_squared: float = 0.0
    products: float = 0.0


@dataclass(frozen=True, slots=True)
class State:
    """All that is kept of a quality metric: both gamblers of this round, and the sums."""

    fell: Wealth = field(default_factory=Wealth)
    holds: Wealth = field(default_factory=Wealth)
    rounds: int = 0
    accepted: bool = False
    sums: Sums = field(default_factory=Sums)


def bets(state: State, rule: Rule) -> tuple[Bet, Bet]:
    """Return what this round bets on: that quality fell, and that it holds."""
    return _of_round(rule, state.rounds)


@lru_cache(maxsize=1024)
def _of_round(rule: Rule, rounds: int) -> tuple[Bet, Bet]:
    alpha = budget.alpha_of_round(rule.alpha, rounds)
    return Bet(rule.fine, Direction.BELOW, alpha), Bet(rule.limit, Direction.ABOVE, rule.beta)


def add(state: State, pairs: Sequence[Pair], rule: Rule) -> State:
    """Take in pairs of scores (student, teacher) of the same prompts, in the order they came."""
    fell, holds = bets(state, rule)
    return State(
        betting.bet(state.fell, pairs, fell),
        betting.bet(state.holds, pairs, holds),
        state.rounds,
        state.accepted,
        _summed(state.sums, pairs),
    )


def judge(
    state: State, rule: Rule, *, per_second: float | None = None, spent: bool = False
) -> tuple[Finding, State]:
    """Judge the metric as it stands; returns the finding and the state to go on with.

    per_second: pairs that are scored at present, for the forecast. spent: no more pairs will come.
    Once per look.
    """
    found = _finding(state, rule, decide(state, rule), per_second)
    if spent and found.verdict is Verdict.UNDECIDED:
        # No forecast either: it would promise pairs that nobody can score.
        found = replace(found, exhausted=True, forecast=None)
    return found, after(state, rule)


def unavailable(state: State, rule: Rule) -> Finding:
    """Return the finding while nothing can be scored: the evidence is kept as it is."""
    return replace(_finding(state, rule, Verdict.NO_DATA, None), warn=False)


def decide(state: State, rule: Rule) -> Verdict:
    """Return the verdict of the wealth that both gamblers have."""
    unknown = rule.reference is not None and rule.reference.score is None
    if unknown or not state.sums.pairs:
        return Verdict.NO_DATA
    evidence = _evidence(state, rule)
    if evidence.towards_rollback >= 1:
        return Verdict.REGRESSED
    quiet = evidence.towards_rollback < 0.5
    proven = evidence.towards_healthy >= 1 or (state.accepted and quiet)
    return Verdict.HEALTHY if proven else Verdict.UNDECIDED


def after(state: State, rule: Rule) -> State:
    """Return the state for the next look: once quality is proven, both gamblers begin anew."""
    evidence = _evidence(state, rule)
    if evidence.towards_healthy < 1 or evidence.towards_rollback >= 1:
        return state
    anew = replace(state, fell=Wealth(), holds=Wealth())
    return replace(anew, rounds=state.rounds + 1, accepted=True)


def retention(sums: Sums, *, level: float, planned: int) -> tuple[float | None, Interval | None]:
    """Return the ratio of mean scores and its interval.

    The interval is that of the mean of s - R t, divided by the teacher's mean (the delta method).
    A teacher that scored nothing has no ratio, a single pair no interval.
    """
    if sums.teacher <= NOTHING * sums.pairs:
        return None, None
    ratio = sums.student / sums.teacher
    if sums.pairs < 2:
        return ratio, None
    squares = sums.student_squared - 2 * ratio * sums.products + ratio**2 * sums.teacher_squared
    deviation = math.sqrt(max(0.0, squares / sums.pairs))
    width = confidence.half_width(sums.pairs, deviation, alpha=level, planned=planned)
    width /= sums.teacher / sums.pairs
    return ratio, Interval(max(0.0, ratio - width), ratio + width)


def against(reference: Reference, scores: Iterable[float]) -> tuple[Pair, ...]:
    """Return pairs of the student's scores and the constant; none where it is not known."""
    if reference.score is None:
        return ()
    return tuple((score, reference.score) for score in scores)


def _summed(sums: Sums, pairs: Sequence[Pair]) -> Sums:
    return Sums(
        sums.pairs + len(pairs),
        sums.student + sum([s for s, _ in pairs]),
        sums.teacher + sum([t for _, t in pairs]),
        sums.student_squared + sum([s * s for s, _ in pairs]),
        sums.teacher_squared + sum([t * t for _, t in pairs]),
        sums.products + sum([s * t for s, t in pairs]),
    )


def _evidence(state: State, rule: Rule) -> Evidence:
    fell, holds = bets(state, rule)
    return Evidence(
        llr=state.fell.log_wealth,
        upper=betting.bound(fell.alpha),
        proof=state.holds.log_wealth,
        proof_bound=betting.bound(holds.alpha),
    )


def _finding(state: State, rule: Rule, verdict: Verdict, per_second: float | None) -> Finding:
    evidence, student = _evidence(state, rule), _counted(state.sums, rule)
    undecided = verdict is Verdict.UNDECIDED
    return Finding(
        metric=rule.metric,
        what=rule.what,
        verdict=verdict,
        limit=rule.limit,
        fine=rule.fine,
        student=student,
        evidence=evidence,
        forecast=_forecast(state, rule, evidence, per_second) if undecided else None,
        level=rule.level,
        warn=_warns(student, rule, evidence),
        exhausted=undecided and not state.accepted and state.sums.pairs >= rule.most,
        critical=rule.critical,
        reference=rule.reference,
    )


def _counted(sums: Sums, rule: Rule) -> Counted:
    ratio, interval = retention(sums, level=rule.level, planned=rule.planned)
    score = sums.student / sums.pairs if sums.pairs else None
    return Counted(sums.pairs, estimate=ratio, interval=interval, score=score)


def _warns(student: Counted, rule: Rule, evidence: Evidence) -> bool:
    """Say whether a warning is due: half of the way to rollback, or surely below the reference."""
    if evidence.towards_rollback >= 0.5:
        return True
    if rule.warn is None or student.estimate is None or student.interval is None:
        return False
    return student.estimate < rule.warn and student.interval.high < 1


def _forecast(
    state: State, rule: Rule, evidence: Evidence, per_second: float | None
) -> Forecast | None:
    """Predict the pairs until the first of both gamblers proves its case."""
    fell, holds = bets(state, rule)
    assert evidence.proof_bound is not None
    told = [
        betting.pairs_to_decide(state.fell, fell, log_bound=evidence.upper),
        betting.pairs_to_decide(state.holds, holds, log_bound=evidence.proof_bound),
    ]
    known = [more for more in told if more is not None]
    if not known:
        return None
    return Forecast.at(min(known), per_second)
