"""What a rollout is judged by: errors, latency, quality, cost and counters of one's own."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import Field, JsonValue

from distill_api.base import DnsLabel, Fraction, Model, ShortText, listed_by, rule, rules, text
from distill_api.outcome import Measure

AlphaWeight = Annotated[float, Field(ge=0, le=1000)]
"""A part of evidence.alpha, relative to that of the other metrics."""
Times = Annotated[float, Field(gt=1, le=100)]
"""A multiple of the teacher's rate."""
LATENCY_LIMIT_MOST: Final = 3_600_000


class Baseline(StrEnum):
    """What a metric of the student is compared with."""

    TEACHER = "Teacher"
    OFFLINE_EVALUATION = "OfflineEvaluation"
    PREVIOUS_STUDENT = "PreviousStudent"
    ABSOLUTE = "Absolute"


class OnRegression(StrEnum):
    """What follows when a metric is found beyond its limit."""

    ROLLBACK = "Rollback"
    PAUSE = "Pause"
    WARN = "Warn"


_RATES: Final = (
    rule(
        "self.fine < self.limit",
        "fine must be below limit: up to the one the student is healthy, from the other on it is"
        " rolled back, and the test tells the two apart",
        at=".fine",
    ),
    rule(
        "!has(self.warn) || self.warn <= self.limit",
        "warn must not be above limit, or the warning comes after the rollback: lower it",
        at=".warn",
    ),
)


class Errors(Model):
    """Share of the student's requests that fail on the server's side (HTTP 5xx and lost ones)."""

    model_config = rules(*_RATES)

    fine: Annotated[float, Field(gt=0, lt=1)] = 0.005
    """Share of failed requests up to which the student is healthy; the guide's gate of 0.5 %."""
    limit: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Share from which it is rolled back; the guide's 1 %. In between either may happen."""
    warn: Annotated[float, Field(gt=0, lt=1)] | None = 0.001
    """Share worth a warning, which moves no traffic; the guide's 0.1 %."""
    baseline: Literal[Baseline.ABSOLUTE, Baseline.TEACHER] = Baseline.ABSOLUTE
    """Absolute: fine and limit decide, and the teacher only takes the blame off the student while
    both fail alike. Teacher: timesTeacher decides."""
    times_teacher: Times = 2.0
    """Multiple of the teacher's rate of failures from which the student is worse than it."""
    alpha_weight: AlphaWeight = 0.4
    """This metric's part of evidence.alpha, relative to that of the others."""


class Signal(StrEnum):
    """Which latency is meant."""

    END_TO_END = "EndToEnd"
    TIME_TO_FIRST_TOKEN = "TimeToFirstToken"  # noqa: S105 - a latency, not a secret
    TIME_PER_OUTPUT_TOKEN = "TimePerOutputToken"  # noqa: S105 - a latency, not a secret


class Quantile(StrEnum):
    """Which quantile of the latency has to stay below the limit."""

    P50 = "P50"
    P90 = "P90"
    P95 = "P95"
    P99 = "P99"


class Shares(NamedTuple):
    """Shares of slow requests that a test tells apart: healthy up to one, bad from the other."""

    fine: float
    limit: float


SLOW_SHARES: Final[Mapping[Quantile, Shares]] = {
    Quantile.P50: Shares(fine=0.45, limit=0.5),
    Quantile.P90: Shares(fine=0.07, limit=0.1),
    Quantile.P95: Shares(fine=0.03, limit=0.05),
    Quantile.P99: Shares(fine=0.005, limit=0.01),
}
"""P95 <= L is P(latency > L) <= 5 %: the limit follows from the quantile, and the healthy share is
what is told apart from it within some hundred requests."""


class Latency(Model):
    """A quantile of the student's latency, judged by counting the requests slower than a limit."""

    signal: Signal = Signal.END_TO_END
    """EndToEnd: from request to whole answer. TimeToFirstToken and TimePerOutputToken: for
    components that write text."""
    quantile: Quantile = Quantile.P95
    """P95: at most 5 % of the requests may be slower than the limit; healthy up to 3 %. P50: 50 and
    45 %. P90: 10 and 7 %. P99: 1 and 0.5 %."""
    limit_milliseconds: Annotated[int, Field(ge=1, le=LATENCY_LIMIT_MOST)] = 150
    """The limit, in milliseconds; the guide's 150. The server's histogram must have a bucket that
    ends exactly here: kubedistill's own server gets one, others have to be configured."""
    baseline: Literal[Baseline.ABSOLUTE, Baseline.TEACHER] = Baseline.ABSOLUTE
    """Absolute: the shares of the quantile decide, and the teacher only takes the blame off the
    student while both are slow. Teacher: timesTeacher decides."""
    times_teacher: Times = 2.0
    """Multiple of the teacher's share of slow requests from which the student is worse than it."""
    alpha_weight: AlphaWeight = 0.2
    """This metric's part of evidence.alpha, relative to that of the others. It is divided among the
    steps, as latency depends on the load and its evidence begins anew at each."""


class RolloutReference(Model):
    """Another rollout in the same namespace."""

    name: DnsLabel
    """Its name."""


class QuerySource(StrEnum):
    """Whose queries quality is measured with."""

    HELD_OUT = "HeldOut"
    MIRRORED = "Mirrored"


class Quality(Model):
    """Quality of the student's answers, on the same queries as the teacher's."""

    model_config = rules(
        rule(
            "self.source == 'HeldOut' || self.baseline == 'Teacher'",
            "what answers a mirrored query is only known from the teacher: use baseline Teacher, or"
            " quality.source HeldOut",
            at=".source",
        ),
        rule(
            "self.limit < self.fine",
            "quality.limit must be below quality.fine: at the one the student has lost too much,"
            " at the other it is as good as can be told",
            at=".limit",
        ),
        rule(
            "(self.baseline == 'PreviousStudent') == has(self.previousRef)",
            "baseline PreviousStudent needs quality.previousRef, the rollout that promoted it, and"
            " no other baseline takes one",
            at=".previousRef",
        ),
        rule(
            "(self.baseline == 'Absolute') == has(self.reference)",
            "baseline Absolute needs quality.reference, the score that fine and limit are shares"
            " of, and no other baseline takes one",
            at=".reference",
        ),
    )

    source: QuerySource = QuerySource.HELD_OUT
    """HeldOut: prober.queries, whose answers are known. Mirrored: users' own queries, which the
    gateway copies to the prober (prober.mirror); the teacher's ranking says what answers them, so
    this is agreement with the teacher. An embedding's queries are searched in the documents of
    prober.queries, a reranker's in their own."""
    measure: Measure = Measure.NDCG_10
    """What is scored, in the notation of ir-measures."""
    fine: Annotated[float, Field(gt=0, le=2)] = 0.98
    """Ratio of the student's score to the baseline's below which it may have got worse. A student
    of exactly this ratio is rolled back with this metric's part of evidence.alpha at most."""
    limit: Annotated[float, Field(gt=0, le=2)] = 0.95
    """Ratio above which it has to be proven to be promoted; the guide's loss of 5 %. A student of
    exactly this ratio is promoted with its part of evidence.beta at most."""
    warn: Annotated[float, Field(gt=0, le=2)] | None = 0.98
    """Ratio below which a warning is told, which moves no traffic; the guide's loss of 2 %."""
    baseline: Baseline = Baseline.TEACHER
    """Teacher: each query is answered by both arms and the scores are compared in pairs.
    OfflineEvaluation: the student's own score when its job evaluated it. PreviousStudent: the score
    of the student that previousRef promoted. Absolute: reference."""
    previous_ref: RolloutReference | None = None
    """The rollout that promoted the previous student."""
    reference: Annotated[float, Field(gt=0, le=1)] | None = None
    """The score that fine and limit are shares of."""
    alpha_weight: AlphaWeight = 0.3
    """This metric's part of evidence.alpha, relative to that of the others."""


class Cost(Model):
    """What the student saves once the teacher is gone: a sum, no test.

    The requests that were counted, at prices.studentMillionRequests instead of
    prices.teacherMillionRequests. Hourly prices are not used: pods that wait for more traffic, or
    are kept warm, make each request look dear.
    """

    min_saving: Fraction = 0.5
    """Share of the teacher's cost of a request that the student must save; the guide's 50 %. What
    the teacher costs while it is only kept warm does not count."""
    window_seconds: Annotated[int, Field(ge=60, le=2_592_000)] = 86_400
    """Seconds of verified traffic, over all steps, that are summed up before anything is decided;
    until then the metric is Undecided, which holds up the last two steps only. The sum goes on."""


Query = Annotated[str, Field(min_length=1, max_length=2048)]
_IN_QUERIES: Final[tuple[tuple[str, str], ...]] = (("events", ".events"), ("requests", ".requests"))


def _queried(member: str, at: str) -> tuple[dict[str, JsonValue], ...]:
    """Return what must hold of a query, so that it gives whole counts of one arm's pods."""
    return (
        rule(
            f"self.{member}.contains('$pods') || self.{member}.contains('$arm')",
            f"custom.{member} must select the pods of one arm: write $arm (teacher or student) or"
            ' $pods (a pattern of their names) in it, for example {pod=~"$pods"}',
            at=at,
        ),
        rule(
            f"!self.{member}.matches('(rate|increase|delta|irate|idelta)[(]')",
            f"custom.{member} must give raw counters, as rate() and increase() estimate: remove"
            " them; differences are counted exactly",
            at=at,
        ),
    )


class Custom(Model):
    """A share of requests with counters of your own, read from Prometheus."""

    model_config = rules(*_RATES, *(check for pair in _IN_QUERIES for check in _queried(*pair)))

    events: Query
    """PromQL that gives one counter for each pod (label `pod`) of what should be rare, for example
    `sum by (pod) (empty_answers_total{pod=~"$pods"})`. `$arm` is teacher or student, `$pods` a
    pattern of the names of its pods, `$namespace` the rollout's."""
    requests: Query
    """PromQL that gives one counter for each pod of all that could have been such."""
    what: ShortText = "count as bad"
    """Completes "3 of 200 requests of the student ..." in messages."""
    fine: Annotated[float, Field(gt=0, lt=1)]
    """Share up to which the student is healthy."""
    limit: Annotated[float, Field(gt=0, lt=1)]
    """Share from which it is rolled back."""
    warn: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share worth a warning, which moves no traffic."""
    baseline: Literal[Baseline.ABSOLUTE, Baseline.TEACHER] = Baseline.ABSOLUTE
    """Absolute: fine and limit decide. Teacher: timesTeacher decides."""
    times_teacher: Times = 2.0
    """Multiple of the teacher's share from which the student is worse than it."""
    per_step: bool = False
    """Begin anew at each step, for what depends on the load; its alpha is then divided among the
    steps."""
    alpha_weight: AlphaWeight = 0.1
    """This metric's part of evidence.alpha, relative to that of the others."""


_KINDS: Final = ("errors", "latency", "quality", "cost", "custom")


class Metric(Model):
    """One thing that the student is judged by."""

    model_config = rules(
        rule(
            " + ".join(f"(has(self.{kind}) ? 1 : 0)" for kind in _KINDS) + " == 1",
            "each metric needs exactly one of errors, latency, quality, cost and custom",
        ),
        rule(
            "!self.critical || self.onRegression != 'Warn'",
            "a metric with onRegression Warn moves no traffic, so it cannot be critical: set"
            " critical to false, or onRegression to Rollback or Pause",
            at=".critical",
        ),
    )

    name: Annotated[
        str,
        text(
            r"^[a-z]([-a-z0-9]*[a-z0-9])?$",
            "a metric's name has small letters, digits and '-' and starts with a letter, for"
            " example latency-p95",
            most=40,
        ),
    ]
    """Its name in status, events and metrics; each metric has another one."""
    critical: bool = True
    """The student is only promoted when this metric is proven healthy, and nothing is promoted
    while it has no numbers. Any metric may roll it back."""
    on_regression: OnRegression = OnRegression.ROLLBACK
    """Rollback: traffic goes back to the teacher. Pause: a person is asked. Warn: it is told."""
    errors: Errors | None = None
    """Failed requests."""
    latency: Latency | None = None
    """Slow requests."""
    quality: Quality | None = None
    """Worse answers, by the prober's queries."""
    cost: Cost | None = None
    """Money saved."""
    custom: Custom | None = None
    """Counters of your own."""

    @property
    def kind(self) -> Errors | Latency | Quality | Cost | Custom:
        """The one member that says what is measured. Raises ValueError where there is none."""
        for member in (self.errors, self.latency, self.quality, self.cost, self.custom):
            if member is not None:
                return member
        raise ValueError(
            f"metric {self.name} measures nothing: expected one of {', '.join(_KINDS)}. The API"
            " server refuses such a metric, so the object was written around it"
        )


DEFAULT_METRICS: Final = (
    Metric(name="errors", errors=Errors()),
    Metric(name="latency-p95", latency=Latency()),
)
Metrics = Annotated[
    list[Metric],
    Field(
        min_length=1,
        max_length=16,
        json_schema_extra={
            **listed_by("name"),
            "x-kubernetes-validations": [
                rule(
                    "self.exists(m, m.critical)",
                    "at least one metric must be critical, or nothing could ever prove that the"
                    " student may be promoted",
                ),
                rule(
                    "self.exists(m, (has(m.errors) && m.errors.alphaWeight > 0.0)"
                    " || (has(m.latency) && m.latency.alphaWeight > 0.0)"
                    " || (has(m.quality) && m.quality.alphaWeight > 0.0)"
                    " || (has(m.custom) && m.custom.alphaWeight > 0.0))",
                    "at least one metric needs an alphaWeight above 0, or no test could ever roll"
                    " the student back",
                ),
            ],
        },
    ),
]
