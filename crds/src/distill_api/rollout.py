"""The spec of a DistilledModelRollout."""

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import Field, JsonValue

from distill_api import not_yet
from distill_api.base import Model, rule, rules, text
from distill_api.outcome import Prices
from distill_api.recipe import Component
from distill_api.rollout_arms import Arm, Artifact, Runtime
from distill_api.rollout_metrics import DEFAULT_METRICS, Metrics, Signal
from distill_api.rollout_policies import (
    DeletionPolicy,
    Evidence,
    Policies,
    Prober,
    TeacherRetention,
)
from distill_api.rollout_route import Gateway
from distill_api.rollout_schedule import PRESETS, Preset, Schedule

FULL: Final = "Full"
"""The value of promote that lets every step pass."""
VLLM_BUCKETS: Final[Mapping[Signal, tuple[int, ...]]] = {
    Signal.END_TO_END: (
        *(300, 500, 800, 1000, 1500, 2000, 2500, 5000, 10_000, 15_000, 20_000, 30_000, 40_000),
        *(50_000, 60_000, 120_000, 240_000, 480_000, 960_000, 1_920_000),
    ),
    Signal.TIME_TO_FIRST_TOKEN: (
        *(1, 5, 10, 20, 40, 60, 80, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10_000, 20_000),
        *(40_000, 80_000, 160_000, 640_000, 2_560_000),
    ),
    Signal.TIME_PER_OUTPUT_TOKEN: (
        *(10, 25, 50, 75, 100, 150, 200, 300, 400, 500, 750, 1000, 2500, 5000, 7500, 10_000),
        *(20_000, 40_000, 80_000),
    ),
}
"""Ends of vLLM's histogram buckets in milliseconds; they cannot be configured."""
_TEXT_METRICS: Final = (
    ". The default metrics are for embeddings; give a Generator its own, for example errors: {}"
    " with latency: {signal: TimeToFirstToken, limitMilliseconds: 1000} and latency: {signal:"
    " TimePerOutputToken, limitMilliseconds: 100}"
)
_RETRIEVAL: Final = "['R@1', 'R@10', 'nDCG@10', 'AP', 'AP@1000', 'RR', 'RR@10']"
_WORDING: Final = "['TokenF1', 'ROUGE-L']"


def _fixed(field: str, why: str) -> dict[str, JsonValue]:
    """Return the schema extra of a field that cannot change after creation."""
    sentence = f"spec.{field} cannot change after creation, {why}: create a new rollout"
    return {"x-kubernetes-validations": [rule("self == oldSelf", sentence)]}


def _runs(*runtimes: Runtime) -> str:
    """Return the CEL expression that is true where an arm is answered by one of these."""
    named = ", ".join(f"'{runtime}'" for runtime in runtimes)
    return " || ".join(
        f"(has(self.{arm}.{kind}) && self.{arm}.{kind}.runtime in [{named}])"
        for arm in ("teacher", "student")
        for kind in ("deployment", "service")
    )


def _vllm_bucket(signal: Signal) -> dict[str, JsonValue]:
    """Return the rule that a latency limit is one that vLLM counts at.

    The sentence names all of them, rising. Only the nearest two would take an expression that costs
    the API server a hundred times what it allows.
    """
    known = ", ".join(str(bound) for bound in VLLM_BUCKETS[signal])
    last = _TEXT_METRICS if signal is Signal.END_TO_END else ""
    return rule(
        f"!({_runs(Runtime.VLLM)}) || has(self.evidence.prometheus) || self.metrics.all(m,"
        f" !has(m.latency) || m.latency.signal != '{signal}'"
        f" || m.latency.limitMilliseconds in [{known}])",
        f"VLLM counts {signal} latency only at {known} milliseconds, so no other limit can be"
        f" judged: choose the nearest of these as latency.limitMilliseconds{last}",
        at=".metrics",
    )


_ARM_RULES: Final = (
    rule(
        "!has(self.student.deployment) || has(self.artifact)",
        "a student that the rollout runs needs spec.artifact, which says what is served: give"
        " artifact.jobRef or artifact.uri with its digest",
        at=".artifact",
    ),
    rule(
        "!has(self.student.deployment) || !has(self.student.deployment.model)",
        "the student's model is spec.artifact: remove student.deployment.model",
        at=".student.deployment.model",
    ),
    rule(
        "!has(self.teacher.deployment) || has(self.teacher.deployment.model)"
        " || (has(self.artifact) && has(self.artifact.jobRef))",
        "a teacher that the rollout runs needs teacher.deployment.model, unless artifact.jobRef"
        " names the job that knows it",
        at=".teacher.deployment.model",
    ),
    rule(
        "!has(self.teacher.service) || !has(self.student.service)"
        " || self.teacher.service.name != self.student.service.name",
        "teacher and student are the same Service, so no traffic could be moved: name two",
        at=".student.service.name",
    ),
)
_TRITON_RULES: Final = (
    rule(
        f"!({_runs(Runtime.TRITON)}) || self.metrics.all(m, !has(m.latency)"
        f" || m.latency.signal == '{Signal.TIME_TO_FIRST_TOKEN}')",
        "Triton counts how long requests take in all, and not how many take longer than a limit, so"
        " no latency metric can be judged: name metrics without latency, or count at the gateway"
        " with evidence.prometheus and a custom metric",
        at=".metrics",
    ),
)
_MIRRORED: Final = "self.metrics.exists(m, has(m.quality) && m.quality.source == 'Mirrored')"
_MIRROR: Final = "has(self.prober) && has(self.prober.mirror)"
_MIRROR_RULES: Final = (
    rule(
        f"!({_MIRROR}) || has(self.gateway.route)",
        "requests are mirrored on a route that the rollout makes, as in an existing one it changes"
        " two weights only: use gateway.route, or remove prober.mirror and use quality.source"
        " HeldOut",
        at=".prober.mirror",
    ),
    rule(
        f"!({_MIRRORED}) || ({_MIRROR})",
        "a quality metric with source Mirrored needs prober.mirror, by which the gateway copies"
        " users' requests: add it, for example with percent 5, or use source HeldOut",
        at=".prober",
    ),
    rule(
        f"!({_MIRROR}) || {_MIRRORED}",
        "prober.mirror copies users' requests and no metric uses them: set quality.source Mirrored"
        " in one, or remove prober.mirror",
        at=".prober.mirror",
    ),
    rule(
        f"({_MIRROR}) == ({_MIRROR.replace('self', 'oldSelf')})"
        f" && (!({_MIRROR}) || self.prober.mirror == oldSelf.prober.mirror)",
        "spec.prober.mirror cannot change after creation, as the route is made once and then only"
        " its weights are moved: create a new rollout",
        at=".prober",
    ),
)
_METRIC_RULES: Final = (
    *(_vllm_bucket(signal) for signal in Signal),
    rule(
        f"self.component in ['Embedding', 'Reranker']"
        f" || !({_runs(Runtime.ONNX_RUNTIME, Runtime.TORCH)})",
        "kubedistill's own server (runtime OnnxRuntime, the default, or Torch) serves only"
        " embeddings and rerankers: set runtime VLLM in both arms, with the image of a vLLM server",
        at=".component",
    ),
    rule(
        "self.component == 'QueryTransform' || self.metrics.all(m, !has(m.quality)"
        f" || m.quality.measure in (self.component == 'Generator' ? {_WORDING} : {_RETRIEVAL}))",
        "quality.measure does not fit the component: a Generator's answers are measured by TokenF1"
        " or ROUGE-L, what an Embedding or Reranker finds by R@1, R@10, nDCG@10, AP, AP@1000, RR or"
        " RR@10",
        at=".metrics",
    ),
    rule(
        "self.component == 'Generator' || !has(self.prober) || !has(self.prober.generation)",
        "prober.generation says how a Generator is asked: remove it for another component",
        at=".prober.generation",
    ),
    rule(
        "self.metrics.all(m, !has(m.latency) || m.latency.signal == 'EndToEnd')"
        " || self.component in ['Generator', 'QueryTransform']",
        "only a Generator or QueryTransform has a first token: use latency.signal EndToEnd",
        at=".metrics",
    ),
    rule(
        "has(self.prober) || !self.metrics.exists(m, has(m.quality))",
        "a quality metric needs spec.prober, which sends the queries it is measured with: add it,"
        " or remove the metric",
        at=".prober",
    ),
    rule(
        "(has(self.artifact) && has(self.artifact.jobRef))"
        " || !self.metrics.exists(m, has(m.quality) && m.quality.baseline == 'OfflineEvaluation')",
        "baseline OfflineEvaluation is the evaluation of a DistillationJob: name it in"
        " artifact.jobRef, or use baseline Absolute with quality.reference",
        at=".metrics",
    ),
    rule(
        "!has(self.prober) || self.metrics.exists(m, has(m.quality))",
        "spec.prober measures for quality metrics and there is none: add one to metrics, or remove"
        " the prober",
        at=".prober",
    ),
    *_MIRROR_RULES,
    *_TRITON_RULES,
    rule(
        "has(self.evidence.prometheus) || !self.metrics.exists(m, has(m.custom))",
        "a custom metric is a query: set evidence.prometheus.url to the Prometheus that answers it",
        at=".evidence.prometheus",
    ),
    rule(
        "!self.metrics.exists(m, has(m.cost)) || (has(self.prices.teacherMillionRequests)"
        " && self.prices.teacherMillionRequests > 0.0"
        " && has(self.prices.studentMillionRequests))",
        "a cost metric compares what a million requests cost: set prices.teacherMillionRequests,"
        " above 0, and prices.studentMillionRequests",
        at=".prices",
    ),
    rule(
        f"!has(self.promote) || self.promote == '{FULL}'"
        " || int(self.promote) <= (has(self.schedule.steps) ? size(self.schedule.steps)"
        f" : self.schedule.preset == '{Preset.THIRTY_DAYS}' ? {len(PRESETS[Preset.THIRTY_DAYS])}"
        f" : {len(PRESETS[Preset.TWENTY_FOUR_HOURS])})",
        "spec.promote names a step that the schedule does not have: write its number, counted"
        " from 1, or Full",
        at=".promote",
    ),
)


class DistilledModelRolloutSpec(Model):
    """What is rolled out, beside what, through which gateway, how fast, and judged by what."""

    model_config = rules(*_ARM_RULES, *_METRIC_RULES, *not_yet.ROLLOUT_RULES)

    component: Annotated[
        Component,
        Field(
            json_schema_extra=_fixed("component", "as the arms' requests and measures follow it")
        ),
    ]
    """The part of a retrieval pipeline that is replaced."""
    artifact: Artifact | None = None
    """The student that is rolled out. A change is rolled back first and then begins anew."""
    teacher: Arm
    """What serves until the student is promoted, and again if it is rolled back. A change is rolled
    back first and then begins anew."""
    student: Arm
    """What serves the artifact."""
    gateway: Annotated[
        Gateway,
        Field(
            json_schema_extra=_fixed(
                "gateway", "as traffic on the old route would be left without anybody to move it"
            )
        ),
    ]
    """Where traffic is split."""
    schedule: Schedule = Schedule(preset=Preset.TWENTY_FOUR_HOURS)
    """How fast traffic moves. A change counts from the next look on and restarts nothing."""
    metrics: Metrics = list(DEFAULT_METRICS)
    """What the student is judged by: at first failed requests and the 95th percentile of latency.
    The first one that is beyond its limit takes the traffic back; all critical ones have to be
    healthy for the last two steps and for promotion."""
    evidence: Evidence = Evidence()
    """How sure the tests have to be, and what they are fed with."""
    policies: Policies = Policies()
    """What happens in doubt."""
    prober: Prober | None = None
    """Measures quality with queries of its own."""
    teacher_retention: TeacherRetention = TeacherRetention()
    """How long the teacher stays whole after the student is promoted."""
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    """What becomes of a promoted student when this object is deleted. Retain: it goes on serving
    all requests. HandBack: the teacher gets them. Before promotion they always go to the
    teacher. Whoever gets them is kept, with the Services and our route; the rest is removed. Only
    a deletion in the foreground (`--cascade=foreground`) takes everything away at once."""
    prices: Prices = Prices()
    """What things cost, for status.savings and a cost metric: both need the two prices of a
    million requests. Hourly prices are not used here."""
    paused: bool = False
    """Keep the present weight and wait. Whatever is bad still takes the traffic back."""
    promote: (
        Annotated[
            str,
            text(
                r"^(Full|[1-9][0-9]?)$",
                'promote must be the number of a step as text, such as "2", or Full',
                most=4,
            ),
        ]
        | None
    ) = None
    """Let a step pass without waiting for its time, requests and verdict: its number, counted from
    1. Full: every step, as soon as its weight is verified. Approves steps with a manual gate."""
    abort: bool = False
    """Take all traffic back to the teacher and stay there. Beats everything else."""
    retry: (
        Annotated[
            str,
            text(
                r"^[A-Za-z0-9._:-]+$",
                "retry may be any word of letters, digits, '.', '_', ':' and '-', such as a date",
                most=64,
            ),
        ]
        | None
    ) = None
    """Begin again after a rollback, with fresh evidence: each new value does so once."""
    finalize: bool = False
    """End teacherRetention early, after one more healthy look."""
