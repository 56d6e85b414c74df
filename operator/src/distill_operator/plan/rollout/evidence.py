"""The evidence of a rollout: counters of pods and pairs of scores taken in, and judged."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import assert_never

from distill_operator.plan.rollout.judgement import Found
from distill_operator.plan.rollout.memory import Split
from distill_operator.plan.rollout.model import Arm, Counts, ObservedMetrics, PairedScores
from distill_operator.plan.rollout.policy import Metric, Policy
from distill_operator.statistics import comparison, deltas, quality, rate, saving
from distill_operator.statistics.deltas import Ledger, Sample
from distill_operator.statistics.verdict import Finding

TOTAL = "requests"
"""The counter of all requests of a container, whatever metric they belong to."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far the pairs of one prober were taken in."""

    probe_uid: str
    total: int
    queries: int | None = None
    """In all; None where that has no end, or a record of an earlier release does not say."""

    @property
    def spent(self) -> bool:
        """Whether no pair will follow: every query was scored, or given up."""
        return self.queries is not None and self.total >= self.queries


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is kept of what was measured since the epoch began."""

    ledgers: Mapping[Arm, Ledger] = field(default_factory=dict)
    rates: Mapping[str, rate.State] = field(default_factory=dict)
    qualities: Mapping[str, quality.State] = field(default_factory=dict)
    positions: Mapping[str, Position] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Taken:
    """The evidence after one look, and what that look brought."""

    evidence: Evidence
    requests: Split = field(default_factory=Split)
    """Of each arm, warm or not: what the gateway sent there."""
    measured: frozenset[str] = frozenset()
    """Metrics that have numbers of the student in this look."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """What belongs to the evidence: since when, and of which pods that still exist."""

    began: datetime
    pods: frozenset[str]
    """Uids of the pods of both arms."""


def take(
    before: Evidence, seen: ObservedMetrics, policy: Policy, epoch: Epoch, *, now: datetime
) -> Taken:
    """Take in one look; what was taken in before adds nothing, as counters are compared."""
    if not seen.read:
        return Taken(before)
    ledgers, gained = _counted(before, seen, policy, epoch, now=now)
    after = replace(
        before,
        ledgers=ledgers,
        rates=_rates(before, policy, gained, now=now),
        qualities=_qualities(before, policy, seen.scores),
        positions=_positions(before, seen.scores),
    )
    requests = Split(*(_arrived(after, arm) - _arrived(before, arm) for arm in Arm))
    return Taken(after, requests, _measured(seen))


def _counted(
    before: Evidence, seen: ObservedMetrics, policy: Policy, epoch: Epoch, *, now: datetime
) -> tuple[Mapping[Arm, Ledger], Mapping[Arm, deltas.Counts]]:
    """Return the ledgers after this look, and what each arm gained."""
    rules = deltas.Rules(
        began=epoch.began.timestamp(),
        warm_requests=policy.warm_requests,
        warm_seconds=policy.warm_seconds,
    )
    ledgers: dict[Arm, Ledger] = {}
    gained: dict[Arm, deltas.Counts] = {}
    for arm in Arm:
        known = before.ledgers.get(arm, Ledger())
        samples = tuple(_samples(seen.counts, arm, now=now))
        alive = _alive(known, samples, epoch.pods)
        ledgers[arm], gained[arm] = deltas.advance(known, samples, rules, alive=alive)
    return ledgers, gained


def _alive(known: Ledger, samples: Iterable[Sample], pods: frozenset[str]) -> set[str]:
    """Return the series that may still come back: of pods that exist, each pod's newest process."""
    newest: dict[str, tuple[float, str]] = {}
    sampled = {sample.series for sample in samples}
    for key in known.series.keys() | sampled:
        uid, _, started = key.rpartition("/")
        newest[uid] = max(newest.get(uid, (0.0, "")), (float(started), key))
    return {key for uid, (_, key) in newest.items() if uid in pods or key in sampled}


def _samples(counts: Iterable[Counts], arm: Arm, *, now: datetime) -> Iterable[Sample]:
    """Yield one sample for each container: the counters of all metrics, and the requests."""
    found: dict[tuple[str, datetime], dict[str, int]] = {}
    for entry in counts:
        if entry.arm is not arm:
            continue
        counters = found.setdefault((entry.pod_uid, entry.started), {})
        counters[_requests(entry.metric)] = entry.requests
        counters[_events(entry.metric)] = entry.events
        arrived = entry.requests if entry.arrived is None else entry.arrived
        counters[TOTAL] = max(counters.get(TOTAL, 0), arrived)
    for (uid, started), counters in found.items():
        series = f"{uid}/{int(started.timestamp())}"
        yield Sample(series, started.timestamp(), now.timestamp(), counters)


def _requests(metric: str) -> str:
    return f"{metric}/requests"


def _events(metric: str) -> str:
    return f"{metric}/events"


def _arrived(evidence: Evidence, arm: Arm, counter: str = TOTAL) -> int:
    """Return what a counter of an arm gained since the epoch began, warm or not."""
    ledger = evidence.ledgers.get(arm, Ledger())
    return ledger.totals.get(counter, 0) + ledger.set_aside.get(counter, 0)


def _rates(
    before: Evidence, policy: Policy, gained: Mapping[Arm, deltas.Counts], *, now: datetime
) -> Mapping[str, rate.State]:
    states = dict(before.rates)
    for metric in policy.metrics:
        if isinstance(metric.rule, rate.Rule):
            student, teacher = (
                _arm(gained[arm], metric.name) for arm in (Arm.STUDENT, Arm.TEACHER)
            )
            state = states.get(metric.name, rate.State())
            states[metric.name] = rate.add(state, now.timestamp(), student, teacher, metric.rule)
    return states


def _arm(gained: deltas.Counts, metric: str) -> comparison.Arm:
    requests, events = gained.get(_requests(metric), 0), gained.get(_events(metric), 0)
    # Two counters of a busy process are never read at the very same moment.
    return comparison.Arm(requests, min(events, requests))


def _qualities(
    before: Evidence, policy: Policy, scores: Iterable[PairedScores]
) -> Mapping[str, quality.State]:
    states = dict(before.qualities)
    rules = {m.name: m.rule for m in policy.metrics if isinstance(m.rule, quality.Rule)}
    for entry in scores:
        rule = rules.get(entry.metric)
        if rule is not None:
            state = states.get(entry.metric, quality.State())
            states[entry.metric] = quality.add(state, _new(before, entry), rule)
    return states


def _new(before: Evidence, entry: PairedScores) -> tuple[tuple[float, float], ...]:
    """Return the pairs that were not taken in before; a query is one sample, however often sent."""
    done = _done(before, entry)
    pairs = zip(entry.numbers, entry.scores, strict=True)
    return tuple(pair for number, pair in pairs if number > done)


def _done(before: Evidence, entry: PairedScores) -> int:
    """Return the number up to which the pairs of a run are known; of another run none is.

    What other runs brought stays: their pairs are gone, and were of this epoch. A prober that
    starts again has the same held-out queries and goes on in the same run. Mirrored ones are new
    draws from the traffic and so a new run, whose pairs all count. A text that users send again
    after a restart counts once more: what was sent before is known to that process only, as a
    digest of a short text that is kept in an object or a file can be guessed.
    """
    known = before.positions.get(entry.metric)
    return known.total if known is not None and known.probe_uid == entry.probe_uid else 0


def _positions(before: Evidence, scores: Iterable[PairedScores]) -> Mapping[str, Position]:
    # A prober that was started again has not yet come as far as the one before it.
    told = {
        s.metric: Position(s.probe_uid, max(s.total, _done(before, s)), s.queries) for s in scores
    }
    return {**before.positions, **told}


def _measured(seen: ObservedMetrics) -> frozenset[str]:
    counted = {c.metric for c in seen.counts if c.arm is Arm.STUDENT}
    return frozenset((counted | {s.metric for s in seen.scores}) - seen.problems.keys())


def judge(
    taken: Taken,
    policy: Policy,
    *,
    read: bool,
    per_second: float | None,
    watched: float = 0.0,
) -> tuple[Found, Evidence]:
    """Judge each metric as it stands; returns the findings, and the evidence to go on with.

    read: metrics were asked for in this look; one without numbers then has no verdict. watched:
    seconds of this epoch in which the student's share was verified.
    """
    found, evidence = [], taken.evidence
    rates, qualities = dict(evidence.rates), dict(evidence.qualities)
    for metric in policy.metrics:
        name, silent = metric.name, read and metric.name not in taken.measured
        match metric.rule:
            case rate.Rule() as rule:
                state = rates.get(name, rate.State())
                finding, rates[name] = _by_rate(state, rule, per_second, silent=silent)
            case saving.Rule() as rule:
                finding = _by_cost(
                    _summed(evidence, name, watched), rule, per_second, silent=silent
                )
            case quality.Rule() as rule:
                pairs = qualities.get(name, quality.State())
                spent = _spent(evidence, name)
                pace = pairs.sums.pairs / watched if watched > 0 else None
                finding, qualities[name] = _by_pairs(pairs, rule, pace, spent=spent, silent=silent)
            case _:
                assert_never(metric.rule)
        found.append((metric, finding))
    return found, replace(evidence, rates=rates, qualities=qualities) if read else evidence


def _by_rate(
    state: rate.State, rule: rate.Rule, per_second: float | None, *, silent: bool
) -> tuple[Finding, rate.State]:
    if silent:
        return rate.unavailable(state, rule), state
    return rate.judge(state, rule, per_second=per_second)


def _by_cost(
    watched: saving.Watched, rule: saving.Rule, per_second: float | None, *, silent: bool
) -> Finding:
    if silent:
        return saving.unavailable(watched, rule)
    return saving.judge(watched, rule, per_second=per_second)


def _by_pairs(
    state: quality.State,
    rule: quality.Rule,
    per_second: float | None,
    *,
    spent: bool,
    silent: bool,
) -> tuple[Finding, quality.State]:
    if silent:
        return quality.unavailable(state, rule), state
    return quality.judge(state, rule, per_second=per_second, spent=spent)


def _summed(evidence: Evidence, metric: str, seconds: float) -> saving.Watched:
    """Return what a cost is summed over: requests of a cold container are paid for as well."""
    return saving.Watched(_arrived(evidence, Arm.STUDENT, _requests(metric)), seconds)


def _spent(evidence: Evidence, metric: str) -> bool:
    position = evidence.positions.get(metric)
    return position is not None and position.spent


def of_next_step(evidence: Evidence, metrics: Iterable[Metric]) -> Evidence:
    """Return the evidence at a new step: what depends on the load begins anew."""
    anew = {metric.name for metric in metrics if metric.per_step}
    kept = {name: state for name, state in evidence.rates.items() if name not in anew}
    return replace(evidence, rates=kept)
