"""What the planner of rollouts sees and what it answers: frozen data without behaviour."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from distill_operator.plan.model import Manifest, RefusedChild

WHOLE: Final = 1000
"""Weights are written per mille: a teacher that is kept warm has one of a thousand requests."""


class Arm(StrEnum):
    """One side of a rollout; also the value of the header and of the label."""

    TEACHER = "teacher"
    STUDENT = "student"


@dataclass(frozen=True, slots=True)
class ObservedDeployment:
    """The Deployment of an arm that we run."""

    name: str
    uid: str
    revision: str | None
    """What it was rendered from: the label of its pods."""
    generation: int
    observed_generation: int
    wanted: int
    updated: int
    ready: int
    deleting: bool = False
    bound: bool = False
    """Goes when the rollout goes: it has our owner reference."""
    problem: str | None = None
    """The message of a condition that says it cannot go on (ReplicaFailure, quota)."""


@dataclass(frozen=True, slots=True)
class ObservedPod:
    """A pod of an arm."""

    name: str
    uid: str
    revision: str | None
    """From its label; None for pods of a Service that is not ours."""
    ready: bool
    restarts: int = 0
    deleting: bool = False
    waiting: tuple[str, str] | None = None
    """Reason and message of a container that cannot start (CrashLoopBackOff, ErrImagePull)."""
    ended: tuple[str, int] | None = None
    """Reason and exit code of the container's last end (OOMKilled, 137)."""
    last_words: str = ""
    """The last line that it wrote before."""
    unschedulable: str | None = None


@dataclass(frozen=True, slots=True)
class ObservedArm:
    """One side: what serves, and how much of it can take requests."""

    ready_endpoints: int = 0
    """Ready addresses in the EndpointSlices of its Service: the only measure of whether requests
    can be answered; pods and Deployments only explain it."""
    service_found: bool = False
    deployment: ObservedDeployment | None = None
    """None: not made yet, or an arm behind a Service that we do not run."""
    pods: tuple[ObservedPod, ...] = ()
    service_bound: bool = False
    """Its Service goes when the rollout goes."""


@dataclass(frozen=True, slots=True)
class ObservedBackend:
    """One backendRef of our rule, in its place."""

    name: str
    weight: int
    port: int | None = None
    filters: tuple[Manifest, ...] = ()


@dataclass(frozen=True, slots=True)
class ObservedParent:
    """What one Gateway says about the route."""

    name: str
    accepted: bool
    resolved: bool
    observed_generation: int
    message: str = ""
    """Why it is not accepted or not resolved."""
    programmed: bool = True
    """The Gateway's own condition."""


@dataclass(frozen=True, slots=True)
class ObservedRoute:
    """The HTTPRoute that carries the traffic."""

    name: str
    uid: str
    generation: int
    resource_version: str
    owned: bool
    """Made by us, and so repaired and removed by us."""
    bound: bool = field(default=False, kw_only=True)
    """Goes when the rollout goes."""
    rule: int | None
    """Index of our rule in spec.rules; None where no rule has the name."""
    backends: tuple[ObservedBackend, ...] = ()
    """Of our rule."""
    parents: tuple[ObservedParent, ...] = ()
    parents_wanted: int = 1
    """Length of spec.parentRefs: each has to accept."""
    weight_writer: str | None = None
    """Field manager, other than ours, that wrote our rule last."""
    deleting: bool = False
    sticky: bool = False
    """Our rule keeps sessions with the backend that they began with."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals of one metric in one pod since its process started; integers, never rates."""

    arm: Arm
    pod_uid: str
    started: datetime
    """Start of the container: with the pod's uid it names the process that counts."""
    metric: str
    requests: int
    events: int
    """Of those requests: failed, slower than the limit, or whatever the metric counts."""
    revision: str | None = None
    created: datetime | None = None
    """Of the pod: one older than the rollout brings counts that are not ours."""
    arrived: int | None = None
    """Requests of users, where the process tells them apart: latencies may count a prober's, too.
    None: those of the metric."""


@dataclass(frozen=True, slots=True)
class PairedScores:
    """Paired scores of one quality metric, as the prober hands them over."""

    metric: str
    probe_uid: str
    """Of what was compared: queries, measures and both models. A prober that is started again
    sends the same held-out queries in the same order, so its pairs are not new ones; its mirrored
    queries are others, so it names a new run."""
    scores: tuple[tuple[float, float], ...]
    """Student and teacher, each 0 to 1, in the order of their numbers."""
    numbers: tuple[int, ...]
    """Of the query of each pair, from 1 and rising; those of failed queries are missing."""
    total: int
    """Queries that are done with: no pair of these numbers will follow."""
    queries: int | None = None
    """Queries in all; None where more may come, as of users' own."""


@dataclass(frozen=True, slots=True)
class ObservedMetrics:
    """What was measured in this pass, or why nothing was."""

    counts: tuple[Counts, ...] = ()
    scores: tuple[PairedScores, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    """Metric to the reason why it has no numbers: endpoint unreachable, no such bucket, stale."""
    read: bool = True
    """False: this pass did not ask (a pass that a watch has woken need not)."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A text of which a pod reads other tokens than the student did in training."""

    name: str
    """What kind of text it is, for a sentence: `the query "short"`."""
    text: str
    trained: tuple[int, ...]
    served: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PodTokens:
    """What came of comparing the tokens of one pod with those of the training."""

    texts: int = 0
    """That were compared."""
    difference: Difference | None = None
    """The first one; None: all are alike."""
    digest: str | None = None
    """Of the tokens of training that the pod has with its model."""
    absent: str | None = None
    """Why there is nothing to compare with."""
    problem: str | None = None
    """Why nothing is known yet."""


@dataclass(frozen=True, slots=True)
class ObservedTokens:
    """The tokens of the student's pods."""

    pods: Mapping[str, PodTokens] = field(default_factory=dict)
    """By the pod's uid; those that have not been compared yet are missing."""
    known: bool = True
    """False: this operator has not asked yet, and what an earlier one found is in status."""


@dataclass(frozen=True, slots=True)
class ObservedArtifact:
    """The student's artifact, as the referenced DistillationJob or the spec names it."""

    uri: str | None = None
    digest: str | None = None
    plain_http: bool = False
    """The job published it without TLS, so it is pulled so."""
    teacher_uri: str | None = None
    """The model of the job's teacher, for an arm that names none."""
    teacher_digest: str | None = None
    """What that model had when the job read it."""
    teacher_secret: str | None = None
    """Name of the Secret that the job read it with."""
    teacher_plain_http: bool = False
    """The job read it without TLS."""
    job_cost: float | None = None
    """What the job that made it cost, where it has prices."""
    job_currency: str | None = None
    """Of that amount."""
    job: str | None = None
    """The job that made it, where one is named."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Measure to the student's score in that job's evaluation."""
    token_ids_digest: str | None = None
    """Of what the student read in training, as that job published it."""
    problem: str | None = None
    """Why there is none yet or never will be."""
    final: bool = False
    """The problem will not pass by waiting: the job has failed."""


@dataclass(frozen=True, slots=True)
class PreviousStudent:
    """The student of another rollout, as that one's status has it."""

    promoted: bool
    scores: Mapping[str, float] = field(default_factory=dict)
    """Measure to its mean score online."""


@dataclass(frozen=True, slots=True)
class OtherRollout:
    """Another rollout that names the same rule of the same route."""

    name: str
    created: datetime
    uid: str


@dataclass(frozen=True, slots=True)
class Refusals:
    """What the API server would not take in the pass before."""

    known: bool = field(default=True, kw_only=True)
    """False: this operator has made no pass yet, and what an earlier one knew is in status."""

    children: tuple[RefusedChild, ...] = ()
    route: str | None = None
    """Its message where it refused the weights: a webhook, missing rights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sights:
    """What was seen around a rollout in one pass."""

    route: ObservedRoute | None = None
    teacher: ObservedArm = field(default_factory=ObservedArm)
    student: ObservedArm = field(default_factory=ObservedArm)
    metrics: ObservedMetrics = field(default_factory=lambda: ObservedMetrics(read=False))
    tokens: ObservedTokens = field(default_factory=lambda: ObservedTokens(known=False))
    artifact: ObservedArtifact = field(default_factory=ObservedArtifact)
    others: tuple[OtherRollout, ...] = ()
    """Other rollouts on the same rule."""
    previous: Mapping[str, PreviousStudent] = field(default_factory=dict)
    """Rollouts that quality is compared with, by name; those that are not there are missing."""
    refused: Refusals = field(default_factory=Refusals)
    unroutable: str | None = None
    """Why no route can be seen at all: the Gateway API is missing, or the right to read it."""


@dataclass(frozen=True, slots=True)
class RouteEdit:
    """A guarded JSON patch of an HTTPRoute: `test` operations first, then the changes.

    The API server refuses it whole where anything has moved since it was read.
    """

    name: str
    operations: tuple[Manifest, ...]
    sentence: str
    """What it does, for the log."""


@dataclass(frozen=True, slots=True)
class Child:
    """Who a child is that stays as it is."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator was configured with, as far as decisions about rollouts depend on it."""

    server_image: str
    prober_image: str
    look_interval: timedelta = timedelta(seconds=1)
    """Pause between two looks while a rollout moves."""
    write_interval: timedelta = timedelta(seconds=10)
    """Pause between two status writes that carry numbers only: until then the next look counts
    from what was written last. No single look adds more than one and a half of it to a clock."""
    image_volumes: bool = True
    """False: the cluster is older than image volumes, so an init container copies the model."""
    deletion_deadline: timedelta = timedelta(minutes=2)
    """Longest time that a deleted rollout holds its namespace to hand traffic back."""
