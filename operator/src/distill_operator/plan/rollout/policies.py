"""From the spec to the policy: presets, times, and the tests with their parts of alpha and beta."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import repeat

from distill_api.outcome import Prices
from distill_api.rollout import DistilledModelRolloutSpec
from distill_api.rollout_metrics import (
    SLOW_SHARES,
    Baseline,
    Cost,
    Custom,
    Errors,
    Latency,
    OnRegression,
    Quality,
    Shares,
)
from distill_api.rollout_metrics import Metric as WantedMetric
from distill_api.rollout_policies import DeletionPolicy

from distill_operator.plan.rollout import baselines
from distill_operator.plan.rollout.baselines import Known
from distill_operator.plan.rollout.policy import Commands, Metric, Policy, Step
from distill_operator.statistics import budget, comparison, quality, rate, saving, sprt

LEAST_ALPHA = 1e-9
"""For a metric without a part of alpha: it is reported, and moves nothing."""

type Tested = Errors | Latency | Custom


def of(spec: DistilledModelRolloutSpec, known: Known | None = None) -> Policy:
    """Return the policy that a spec asks for; known: what its quality may be compared with."""
    schedule, policies = spec.schedule, spec.policies
    return Policy(
        steps=tuple(_steps(spec)),
        metrics=metrics(spec, known or Known()),
        warm_requests=spec.evidence.warm_up_requests,
        warm_seconds=spec.evidence.warm_up_seconds,
        commands=_commands(spec),
        max_soak=timedelta(seconds=schedule.longest_soak()),
        progress_deadline=timedelta(seconds=schedule.progress_deadline_seconds),
        min_ready=timedelta(seconds=schedule.min_ready_seconds),
        crash_grace=timedelta(seconds=schedule.crash_loop_grace_seconds),
        no_data=policies.no_data,
        no_data_after=timedelta(seconds=policies.no_data_after_seconds),
        undecided=policies.undecided,
        foreign=policies.foreign_weights,
        retention=timedelta(seconds=spec.teacher_retention.seconds),
        floor=spec.teacher_retention.weight_per_mille,
        owns_route=spec.gateway.route is not None,
        hands_back=spec.deletion_policy is DeletionPolicy.HAND_BACK,
    )


def _steps(spec: DistilledModelRolloutSpec) -> Iterator[Step]:
    for step in spec.schedule.resolved():
        soak = timedelta(seconds=step.min_soak_seconds)
        yield Step(step.weight, soak, step.min_requests, step.manual)


def _commands(spec: DistilledModelRolloutSpec) -> Commands:
    return Commands(
        paused=spec.paused,
        abort=spec.abort,
        promote=spec.promote,
        retry=spec.retry,
        finalize=spec.finalize,
    )


def metrics(spec: DistilledModelRolloutSpec, known: Known) -> tuple[Metric, ...]:
    """Return the metrics, with alpha shared out by weight and beta divided among those tested.

    A cost is a sum and no test: it has no part of either.
    """
    tested = {metric.name: metric for metric in _tested(spec, known)}
    return tuple(tested.get(wanted.name) or _cost(wanted, spec.prices) for wanted in spec.metrics)


def _tested(spec: DistilledModelRolloutSpec, known: Known) -> tuple[Metric, ...]:
    tested = [metric for metric in spec.metrics if not isinstance(metric.kind, Cost)]
    alphas = budget.alphas(spec.evidence.alpha, _weights(tested))
    beta = budget.beta_each(spec.evidence.beta, sum(metric.critical for metric in tested))
    found = (_metric(metric, spec, alphas[metric.name], beta) for metric in tested)
    return tuple(map(_compared, found, tested, repeat(known)))


def _cost(wanted: WantedMetric, prices: Prices) -> Metric:
    kind = wanted.kind
    assert isinstance(kind, Cost)
    teacher, student = prices.teacher_million_requests, prices.student_million_requests
    rule = saving.Rule(
        metric=wanted.name,
        least=kind.min_saving,
        window=kind.window_seconds,
        prices=(
            saving.Prices(prices.currency, teacher, student)
            if teacher and student is not None
            else None
        ),
        critical=wanted.critical,
    )
    return Metric(rule, wanted.on_regression)


def _compared(metric: Metric, wanted: WantedMetric, known: Known) -> Metric:
    """Return the metric with what its scores are compared with."""
    kind, rule = wanted.kind, metric.rule
    if not isinstance(kind, Quality) or not isinstance(rule, quality.Rule):
        return metric
    return replace(metric, rule=replace(rule, reference=baselines.reference(kind, known)))


def _weights(tested: list[WantedMetric]) -> Mapping[str, float]:
    found = {}
    for metric in tested:
        kind = metric.kind
        assert not isinstance(kind, Cost)
        found[metric.name] = kind.alpha_weight
    return found


def _metric(
    wanted: WantedMetric, spec: DistilledModelRolloutSpec, alpha: float, beta: float
) -> Metric:
    kind = wanted.kind
    assert not isinstance(kind, Cost)
    action = wanted.on_regression if kind.alpha_weight > 0 else OnRegression.WARN
    alpha = max(alpha, LEAST_ALPHA)
    if isinstance(kind, Quality):
        return Metric(_quality(wanted, kind, spec, (alpha, beta)), action)
    per_step = isinstance(kind, Latency) or (isinstance(kind, Custom) and kind.per_step)
    if per_step:
        alpha = budget.alpha_of_step(alpha, len(spec.schedule.resolved()))
    return Metric(_rate(wanted, kind, spec, (alpha, beta)), action, per_step)


def _rate(
    wanted: WantedMetric,
    kind: Tested,
    spec: DistilledModelRolloutSpec,
    risks: tuple[float, float],
) -> rate.Rule:
    alpha, beta = risks
    shares = SLOW_SHARES[kind.quantile] if isinstance(kind, Latency) else _shares(kind)
    return rate.Rule(
        metric=wanted.name,
        what=_what(kind),
        # Ville's bound keeps alpha whenever it is looked at, and looks come when they come.
        design=sprt.Design(shares.fine, shares.limit, alpha, beta, ville=True),
        contest=comparison.Design(kind.times_teacher, alpha, beta),
        relative=kind.baseline is Baseline.TEACHER,
        warn=None if isinstance(kind, Latency) else kind.warn,
        effect=spec.evidence.design_effect,
        level=1 - spec.evidence.confidence,
        critical=wanted.critical,
    )


def _shares(kind: Errors | Custom) -> Shares:
    return Shares(kind.fine, kind.limit)


def _what(kind: Tested) -> str:
    if isinstance(kind, Errors):
        return "failed"
    if isinstance(kind, Latency):
        return f"took longer than {kind.limit_milliseconds} ms"
    return kind.what


def _quality(
    wanted: WantedMetric,
    kind: Quality,
    spec: DistilledModelRolloutSpec,
    risks: tuple[float, float],
) -> quality.Rule:
    alpha, beta = risks
    most = quality.MOST_PAIRS
    if spec.prober is not None:
        # Queries that are sent again are no evidence, so no more pairs than these will come.
        most = min(most, spec.prober.max_queries)
    return quality.Rule(
        metric=wanted.name,
        what=kind.measure.value,
        fine=kind.fine,
        limit=kind.limit,
        alpha=alpha,
        beta=beta,
        warn=kind.warn,
        level=1 - spec.evidence.confidence,
        most=most,
        critical=wanted.critical,
    )
