"""How a rollout decides: how sure it has to be, what it does in doubt, and what it probes with."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, JsonValue

from distill_api.base import Model, rule, text
from distill_api.data import Columns, DataSource
from distill_api.pods import ImageReference, ResourceList, Resources
from distill_api.rollout_schedule import Seconds


class Prometheus(Model):
    """A Prometheus that scrapes the pods of both arms."""

    url: Annotated[
        str,
        text(
            r"^https?://[^\s/]+(/\S*)?$",
            "prometheus.url must start with http:// or https://, for example"
            " http://prometheus.monitoring:9090",
            most=1024,
        ),
    ]
    """Base URL of its HTTP API."""
    scrape_interval_seconds: Annotated[int, Field(ge=1, le=300)] = 15
    """How often it scrapes. Samples older than three of these are not used."""


def _below_half(name: str, share: str) -> Any:
    """Return the Field of an error rate that is tolerated."""
    message = (
        f"evidence.{name} must lie between 0 and 0.5, both excluded: it is the share of {share}"
    )
    checks: dict[str, JsonValue] = {
        "x-kubernetes-validations": [rule("self > 0.0 && self < 0.5", message)]
    }
    return Field(gt=0, lt=0.5, json_schema_extra=checks)


class Evidence(Model):
    """How sure the tests have to be, and what they are fed with."""

    alpha: Annotated[
        float,
        _below_half("alpha", "good students that may be rolled back, for example 0.01"),
    ] = 0.01
    """Chance that a healthy student is rolled back, over the whole rollout and all its metrics."""
    beta: Annotated[
        float,
        _below_half("beta", "bad students that may be called healthy, for example 0.05"),
    ] = 0.05
    """Chance that a student that is at its limits is called healthy; divided among the critical
    metrics."""
    confidence: Annotated[float, Field(ge=0.5, le=0.999)] = 0.95
    """Confidence of the intervals that are shown. They hold at every moment, not only at one."""
    warm_up_requests: Annotated[int, Field(ge=0, le=1_000_000)] = 20
    """First requests of each container that do not count."""
    warm_up_seconds: Annotated[int, Field(ge=0, le=3600)] = 10
    """First seconds of each container that do not count; both have to pass."""
    design_effect: Annotated[float, Field(ge=1, le=100)] | None = None
    """Factor by which failures come in bursts: 1 if each is independent. Estimated from the
    student's own minutes by default."""
    prometheus: Prometheus | None = None
    """Read counters from here. By default they are read from the pods themselves, for which nothing
    has to be installed."""


class Action(StrEnum):
    """What happens in doubt."""

    HOLD = "Hold"
    ROLLBACK = "Rollback"


class ForeignWeights(StrEnum):
    """What happens to weights that somebody else wrote."""

    ENFORCE = "Enforce"
    YIELD = "Yield"


class Policies(Model):
    """What happens in doubt. None of these promotes: doubt never does."""

    no_data: Action = Action.HOLD
    """When a critical metric has no numbers for noDataAfterSeconds. Hold: the weight stays, and the
    rollout goes on by itself when numbers come back."""
    no_data_after_seconds: Annotated[int, Field(ge=10, le=604_800)] = 1800
    """Seconds without numbers until noData counts."""
    undecided: Action = Action.HOLD
    """When a step is neither healthy nor regressed after schedule.maxSoakSeconds. Hold: wait for
    more requests, or for `spec.promote`."""
    foreign_weights: ForeignWeights = ForeignWeights.ENFORCE
    """When somebody else changes the two weights. Enforce: they are written again, three times in
    a step, then the rollout holds. Yield: the rollout holds at once."""


class TeacherRetention(Model):
    """How long the teacher stays whole after the student is promoted."""

    seconds: Seconds = 172_800
    """Seconds for which it is kept; the guide's 48 hours. Only time counts in which the rollout was
    watched. Until then going back is one write."""
    weight_per_mille: Annotated[int, Field(ge=0, le=100)] = 1
    """Its share of the requests meanwhile, in thousandths, which keeps it and the gateway's
    connections warm."""


class DeletionPolicy(StrEnum):
    """What becomes of a promoted student when its rollout is deleted."""

    RETAIN = "Retain"
    HAND_BACK = "HandBack"


class Mirror(Model):
    """Copies of users' requests that the gateway sends to the prober, whose answers it drops.

    The prober keeps what it waits to send in memory only, and writes no text anywhere.
    """

    percent: Annotated[int, Field(ge=1, le=100)] = 5
    """Share of the requests that is copied. The prober sends queriesPerMinute of them to both arms
    and drops what is too much."""


class Generation(Model):
    """How a Generator is asked, as its users do and as it was trained to be."""

    max_tokens: Annotated[int, Field(ge=1, le=131_072)] = 256
    """Longest answer in tokens; what is written until then is measured."""
    system_prompt: Annotated[str, Field(max_length=16_384)] | None = None
    """System message, as in teacher.sampling.systemPrompt of the student's job."""
    chain_of_thought: bool = False
    """Ask for reasoning first, as in teacher.sampling.chainOfThought; only the answer behind it is
    measured."""


class Prober(Model):
    """A pod that sends queries to both arms and compares their answers in pairs.

    Its requests carry a header, so that they count neither as errors nor as latency. VLLM knows no
    such header: there they count as no requests and no errors, but as latency, in both arms.
    """

    queries: DataSource
    """Queries with documents that answer them, which the student was not trained on. Mirrored
    queries are searched in these documents. For a Generator questions with context and a reference
    answer."""
    mirror: Mirror | None = None
    """Users' queries, for metrics with quality.source Mirrored. When nothing is measured any more
    the prober goes and its Service stays, so that copies go nowhere; whoever wants none takes the
    filter RequestMirror off the route by hand, and it stays off."""
    columns: Columns = Columns()
    """Names of the columns, where they differ from ours."""
    max_queries: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Queries used, of each source. When all held-out ones were sent it begins anew; a query that
    is sent again is counted apart and is no evidence."""
    documents: Annotated[int, Field(ge=2, le=100_000)] = 1000
    """Documents that each query is searched in, its own among them; a reranker is given 100 of them
    at most."""
    queries_per_minute: Annotated[int, Field(ge=1, le=60_000)] = 60
    """Queries of each source sent to each arm in a minute."""
    generation: Generation | None = None
    """How a Generator is asked; its own defaults where it is left out."""
    timeout_seconds: Annotated[int, Field(ge=1, le=600)] = 10
    """Longest time of one request; a query without both answers is left out of the pairs."""
    image: ImageReference | None = None
    """Image of the prober; the operator's server image by default."""
    resources: Resources = Resources(
        requests=ResourceList(cpu="100m", memory="256Mi"), limits=ResourceList(memory="1Gi")
    )
    """Resources of its pod."""
