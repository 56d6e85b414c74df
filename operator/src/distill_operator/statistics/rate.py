"""The verdict of a rate: failed requests, or requests slower than a limit.

P95 <= L is the same as P(latency > L) <= 5 %, so latency is a rate of slow requests.
"""

import math
from dataclasses import dataclass, field, replace

from distill_operator.statistics import comparison, confidence, dispersion, sprt, trial
from distill_operator.statistics.comparison import Arm, Contest
from distill_operator.statistics.trial import Trial
from distill_operator.statistics.verdict import Counted, Evidence, Finding, Forecast, Verdict


@dataclass(frozen=True, slots=True)
class Rule:
    """How one rate is judged.

    what: completes "of the requests ..."; design: with this metric's part of alpha and beta;
    contest: how the student is compared with the teacher. relative: that comparison decides
    instead of the design's rates. warn: a rate worth a warning. effect: a fixed design effect, or
    None to estimate it. level: one minus the confidence of the interval that is shown.
    """

    metric: str
    what: str
    design: sprt.Design
    contest: comparison.Design | None = None
    relative: bool = False
    warn: float | None = None
    effect: float | None = None
    level: float = 0.05
    critical: bool = True


@dataclass(frozen=True, slots=True)
class State:
    """All that is kept of a rate: both arms, their contest, and the minutes.

    fault: the environment was at fault, and the student has not been found fine since. Looks come
    faster than requests do: without it, the verdict would flap while the fault lasts.
    """

    student: Trial = field(default_factory=Trial)
    teacher: Trial = field(default_factory=Trial)
    contest: Contest = field(default_factory=Contest)
    clock: dispersion.Clock = field(default_factory=dispersion.Clock)
    fault: bool = False


def add(state: State, at: float, student: Arm, teacher: Arm, rule: Rule) -> State:
    """Take in what both arms gained until the look at `at` seconds."""
    contest = state.contest
    if rule.contest is not None:
        contest = comparison.add(contest, student, teacher, rule.contest)
    return State(
        trial.add(state.student, student.requests, student.failures),
        trial.add(state.teacher, teacher.requests, teacher.failures),
        contest,
        _timed(state.clock, at, student, rule),
        state.fault,
    )


def judge(state: State, rule: Rule, *, per_second: float | None = None) -> tuple[Finding, State]:
    """Judge the rate as it stands; returns the finding and the state to go on with.

    per_second: requests that the student completes at present, for the forecast. Once per look.
    """
    decision, verdict = decide(state, rule)
    return _finding(state, rule, verdict, per_second), after(state, rule, decision, verdict)


def unavailable(state: State, rule: Rule) -> Finding:
    """Return the finding while nothing can be measured: the evidence is kept as it is."""
    return replace(_finding(state, rule, Verdict.NO_DATA, None), warn=False)


def decide(state: State, rule: Rule) -> tuple[sprt.Decision, Verdict]:
    """Return what the student's test says, and the verdict that follows."""
    effect = effect_of(state, rule)
    if not state.student.all_requests:
        return sprt.Decision.CONTINUE, Verdict.NO_DATA
    if rule.relative and rule.contest is not None:
        decision = comparison.decide(state.contest, rule.contest, effect=effect)
        return decision, _verdict(state, rule, decision)
    decision = trial.decide(state.student, rule.design, effect=effect)
    lingers = state.fault and decision is sprt.Decision.CONTINUE
    if lingers or (decision is sprt.Decision.REJECT and _exonerated(state, rule, effect)):
        return decision, Verdict.ENVIRONMENT_FAULT
    return decision, _verdict(state, rule, decision)


def after(state: State, rule: Rule, decision: sprt.Decision, verdict: Verdict) -> State:
    """Return the state for the next look: a round that has ended makes room for the next."""
    effect = effect_of(state, rule)
    contest, clock = state.contest, state.clock
    if rule.contest is not None:
        contest = comparison.settle(contest, rule.contest, effect=effect)
    student, teacher = trial.settle(state.student, rule.design, effect=effect), state.teacher
    teacher = trial.settle(teacher, rule.design, effect=effect)
    fault = verdict is Verdict.ENVIRONMENT_FAULT
    if fault:
        # A fault looks like bursts, and an effect learnt from it would outlast it by hours.
        clock = dispersion.skip(clock)
    against = decision is sprt.Decision.REJECT or _evidence(state, rule).llr > 0
    if fault and against and _rejects(state.teacher, rule, effect):
        # The contest goes on: it alone can tell that the student is worse in spite of the fault.
        student, teacher = trial.renew(student), trial.renew(teacher)
    elif decision is sprt.Decision.ACCEPT and _rejects(teacher, rule, effect):
        # What the teacher did before must not excuse the student later.
        teacher = trial.renew(teacher)
    return State(student, teacher, contest, clock, fault)


def effect_of(state: State, rule: Rule) -> float:
    """Return the design effect: the rule's, or an estimate from the minutes that are over."""
    return dispersion.estimate(state.clock) if rule.effect is None else rule.effect


def _timed(clock: dispersion.Clock, at: float, student: Arm, rule: Rule) -> dispersion.Clock:
    counted = (student.requests, student.failures)
    return dispersion.add(clock, at, counted, limit=rule.design.p1)


def _verdict(state: State, rule: Rule, decision: sprt.Decision) -> Verdict:
    if decision is sprt.Decision.REJECT:
        return Verdict.REGRESSED
    if decision is sprt.Decision.ACCEPT:
        return Verdict.HEALTHY
    fine_before = state.contest.accepted if rule.relative else state.student.accepted is not None
    # Found fine before, and nothing speaks against it loudly since.
    quiet = _evidence(state, rule).towards_rollback < 0.5
    return Verdict.HEALTHY if fine_before and quiet else Verdict.UNDECIDED


def _exonerated(state: State, rule: Rule, effect: float) -> bool:
    if rule.contest is None:
        return False
    return comparison.exonerates(
        sprt.Decision.REJECT,
        trial.decide(state.teacher, rule.design, effect=effect),
        comparison.decide(state.contest, rule.contest, effect=effect),
    )


def _rejects(arm: Trial, rule: Rule, effect: float) -> bool:
    return trial.decide(arm, rule.design, effect=effect) is sprt.Decision.REJECT


def _evidence(state: State, rule: Rule) -> Evidence:
    effect = effect_of(state, rule)
    if rule.relative and rule.contest is not None:
        bounds = comparison.design_of_round(rule.contest, state.contest)
        return Evidence(state.contest.llr / effect, bounds.upper, bounds.lower)
    current = trial.design_of_round(rule.design, state.student)
    found = sprt.llr(current, state.student.requests, state.student.failures, effect=effect)
    return Evidence(found, current.upper, current.lower)


def _finding(state: State, rule: Rule, verdict: Verdict, per_second: float | None) -> Finding:
    evidence, effect = _evidence(state, rule), effect_of(state, rule)
    fault, undecided = verdict is Verdict.ENVIRONMENT_FAULT, verdict is Verdict.UNDECIDED
    is_open = undecided or (fault and evidence.towards_rollback < 1)
    student = _counted(state.student, rule, effect, of_round=fault or verdict is Verdict.REGRESSED)
    teacher = _counted(state.teacher, rule, effect, of_round=fault)
    fine, limit = _limits(rule)
    return Finding(
        metric=rule.metric,
        what=rule.what,
        verdict=verdict,
        limit=limit,
        fine=fine,
        student=student,
        teacher=teacher if state.teacher.all_requests else None,
        evidence=evidence,
        forecast=_forecast(state, rule, evidence, per_second) if is_open else None,
        effect=effect,
        level=rule.level,
        warn=_warns(student, rule, evidence),
        exhausted=undecided and _exhausted(state, rule, effect),
        critical=rule.critical,
        relative=rule.relative,
    )


def _limits(rule: Rule) -> tuple[float, float]:
    if rule.relative and rule.contest is not None:
        return 1.0, rule.contest.ratio
    return rule.design.p0, rule.design.p1


def _counted(arm: Trial, rule: Rule, effect: float, *, of_round: bool = False) -> Counted:
    """Count an arm over all rounds, or over the one that decided."""
    n = arm.requests if of_round else arm.all_requests
    k = arm.failures if of_round else arm.all_failures
    if not n:
        return Counted(0, 0)
    interval = confidence.of_rate(n, k, alpha=rule.level, effect=effect)
    return Counted(n, k, arm.all_requests - n, k / n, interval)


def _warns(student: Counted, rule: Rule, evidence: Evidence) -> bool:
    """Say whether a warning is due: half of the way to rollback, or surely above what is fine."""
    if evidence.towards_rollback >= 0.5:
        return True
    if rule.warn is None or student.estimate is None or student.interval is None:
        return False
    return student.estimate > rule.warn and student.interval.low > rule.design.p0


def _forecast(
    state: State, rule: Rule, evidence: Evidence, per_second: float | None
) -> Forecast | None:
    """Predict the student's requests until the test decides.

    At the rate that was seen, drawn by some 1/p1 imagined requests to the rate that takes longest:
    with few requests nobody knows how it will go.
    """
    if rule.relative:
        return None
    current, seen = trial.design_of_round(rule.design, state.student), state.student
    imagined = 1 / current.p1
    rate = (seen.all_failures + imagined * current.indifferent) / (seen.all_requests + imagined)
    expected = sprt.expected_requests(current, rate, found=evidence.llr)
    more = max(1, math.ceil(expected * effect_of(state, rule)))
    return Forecast.at(more, per_second)


def _exhausted(state: State, rule: Rule, effect: float) -> bool:
    """Say whether the first finding is overdue, by the exact characteristics of the test."""
    if rule.relative or state.student.accepted is not None:
        return False
    current, seen = trial.design_of_round(rule.design, state.student), state.student.requests
    # The horizon is exact and takes a moment: it is asked for only where it may be reached.
    if seen < sprt.expected_requests(current, current.indifferent) * effect:
        return False
    return seen >= sprt.horizon(current) * effect
