"""The guide's production checklist and go/no-go criteria, as far as a rollout can judge them."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from distill_api.names import RolloutVerdict
from distill_api.rollout import DistilledModelRolloutSpec
from distill_api.rollout_metrics import (
    Baseline,
    Errors,
    Latency,
    OnRegression,
    Quality,
    Quantile,
    Signal,
)
from distill_api.rollout_status import MetricStatus, RolloutStatus
from distill_api.status import ChecklistItem

from distill_operator.plan import checks, text, worth
from distill_operator.plan.checklist import judged
from distill_operator.plan.evidence import Finding, failed, held, person, proven
from distill_operator.plan.rollout import phases
from distill_operator.plan.rollout.phases import SERVING, Phase
from distill_operator.plan.rollout.phases import Signal as Event

CANARY: Final = 5
"""Percent of the traffic that the first step gives at most."""
WARNED_LOSS: Final = 0.98
"""Ratio to the teacher below which somebody has to be told."""
ERROR_RATE: Final = 0.005
SOAK: Final = timedelta(hours=24)
"""The guide's thresholds."""
BY_HAND: Final = frozenset(map(phases.reason, (Event.OVERRIDDEN.name, Event.PASSED.name)))
"""Reasons of decisions that let a step pass before its time."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the judges look at: what was asked for, and what status says now."""

    spec: DistilledModelRolloutSpec
    status: RolloutStatus

    def measured[K: (Errors, Latency, Quality)](
        self, kind: type[K]
    ) -> Iterator[tuple[K, MetricStatus]]:
        """Yield the metrics of a kind that have numbers."""
        found = {metric.name: metric for metric in self.status.metrics}
        for metric in self.spec.metrics:
            if isinstance(metric.kind, kind) and metric.name in found:
                yield metric.kind, found[metric.name]


def serving(known: Known) -> Finding | None:
    """Judge whether the student answers behind the gateway."""
    arms, weight = known.status.arms, known.status.weight
    if arms is None or arms.student is None or weight is None:
        return None
    if not (arms.student.ready and weight.verified and weight.desired):
        return None
    share = f"{weight.desired / 10:g}% of the traffic"
    return proven(f"{arms.student.ready} endpoints of {arms.student.endpoint} take {share}.")


def canary(known: Known) -> Finding | None:
    """Judge the share that the student began with."""
    if known.status.phase not in SERVING:
        return None
    first = known.spec.schedule.resolved()[0].weight
    return held(first <= CANARY, f"The first step gives {first}%; the guide asks for {CANARY}%.")


def warnings(known: Known) -> Finding | None:
    """Judge whether a loss of quality of 2 % is told."""
    for metric in known.spec.metrics:
        warn = metric.quality.warn if metric.quality else None
        if warn is not None and warn >= WARNED_LOSS:
            return proven(f"Metric {metric.name} warns by an event below {warn:.1%}.")
    return person(f"Add a quality metric with warn: {WARNED_LOSS:g}, or an alert of your own.")


def rollback(known: Known) -> Finding | None:
    """Judge whether there is a way back that needs no plan."""
    named = [m.name for m in known.spec.metrics if m.on_regression is OnRegression.ROLLBACK]
    by_hand = "spec.abort: true takes the student's traffic away at once"
    if not named:
        return person(f"No metric rolls back by itself; {by_hand}.")
    return proven(f"{', '.join(named)} roll back by themselves; {by_hand}.")


def soaked(known: Known) -> Finding | None:
    """Judge, once promoted, whether each share was watched for a day."""
    if known.status.phase not in (Phase.PROMOTED, Phase.COMPLETED):
        return None
    if any(entry.reason in BY_HAND for entry in known.status.history):
        return failed("A step was let pass by spec.promote before its time.")
    least = min(step.min_soak_seconds for step in known.spec.schedule.resolved())
    shortest = timedelta(seconds=least)
    return held(shortest >= SOAK, f"The shortest step soaked for {text.duration(shortest)}.")


def error_rate(known: Known) -> Finding | None:
    """Judge the student's failed requests by the interval that they allow for."""
    for _, found in known.measured(Errors):
        low, high = _interval(found)
        if high < ERROR_RATE:
            return proven(found.message)
        if low > ERROR_RATE:
            return failed(found.message)
    return None


def quality(known: Known) -> Finding | None:
    """Judge the student's answers, paired with the teacher's, against 93 %."""
    for wanted, found in known.measured(Quality):
        if wanted.baseline is not Baseline.TEACHER:
            continue
        low, high = _interval(found)
        healthy = found.verdict is RolloutVerdict.HEALTHY and wanted.limit >= checks.RETENTION
        if healthy or low >= checks.RETENTION:
            return proven(found.message)
        if high < checks.RETENTION:
            return failed(found.message)
    return None


def _interval(found: MetricStatus) -> tuple[float, float]:
    """Return the ends of the student's interval; without numbers everything is possible."""
    counted = found.student
    if counted is None or counted.lower is None or counted.upper is None:
        return -math.inf, math.inf
    return float(counted.lower), float(counted.upper)


def p95(known: Known) -> Finding | None:
    """Judge the latency that users have against 150 ms."""
    strict = [
        found
        for wanted, found in known.measured(Latency)
        if wanted.limit_milliseconds <= checks.P95_MILLISECONDS
        and wanted.signal is Signal.END_TO_END
        and wanted.quantile in (Quantile.P95, Quantile.P99)
    ]
    verdicts = {found.verdict: found.message for found in strict}
    if RolloutVerdict.HEALTHY in verdicts:
        return proven(verdicts[RolloutVerdict.HEALTHY])
    if RolloutVerdict.REGRESSED in verdicts:
        return failed(verdicts[RolloutVerdict.REGRESSED])
    if any(metric.latency for metric in known.spec.metrics) and not strict:
        return person(f"No latency metric has a limit of {checks.P95_MILLISECONDS} ms at P95.")
    return None


def monthly(known: Known) -> Finding | None:
    """Judge what the student saves a month."""
    saved = known.status.savings
    if saved is None or saved.per_day is None:
        return worth.unpriced()
    return worth.monthly(saved.per_day, saved.currency)


def break_even(known: Known) -> Finding | None:
    """Judge when the job has paid for itself."""
    saved = known.status.savings
    if saved is None or saved.per_day is None:
        return worth.unpriced()
    if float(saved.per_day) <= 0:
        return worth.never_paid()
    if saved.break_even_days is None:
        return person("Name the job by artifact.jobRef, with prices in the same currency.")
    return worth.paid(saved.break_even_days)


def half_saved(known: Known) -> Finding | None:
    """Judge the share that the student saves against the guide's half."""
    saved = known.status.savings
    return worth.half(float(saved.share) if saved else None)


ITEMS: Final[tuple[tuple[str, str, Callable[[Known], Finding | None]], ...]] = (
    ("Deployment", "Set up model serving", serving),
    ("A/B Testing", "Set up canary at 5%", canary),
    ("A/B Testing", "Alerts configured for regressions above 2%", warnings),
    ("A/B Testing", "Rollback procedure documented", rollback),
    ("A/B Testing", "Ran 24 hours or more at each share", soaked),
    ("Monitoring", "Error rate below 0.5%", error_rate),
    ("Cost Tracking", "Projected monthly savings", monthly),
    ("Cost Tracking", "Break-even timeline confirmed", break_even),
    ("Go/No-Go", "Quality of 93% of the teacher or more", quality),
    ("Go/No-Go", "P95 latency below 150 ms", p95),
    ("Go/No-Go", "Error rate below 0.5% in production", error_rate),
    ("Go/No-Go", "Cost savings above 50%", half_saved),
)
"""Section, item and judge, in the guide's order and words."""


def updated(before: RolloutStatus, known: Known) -> list[ChecklistItem]:
    """Return the checklist with what is known now.

    What was proven stays while the same student is tried: numbers go with the pods.
    """
    kept = before.checklist if before.epoch == known.status.epoch else []
    old = {(item.section, item.item): item for item in kept}
    return [
        judged(section, item, judge(known), old.get((section, item)))
        for section, item, judge in ITEMS
    ]
