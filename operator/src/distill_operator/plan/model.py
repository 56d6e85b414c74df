"""What the planner sees and what it answers: frozen data without behaviour."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from distill_api.job import DistillationJobSpec
from distill_api.names import Reason, Stage
from distill_api.status import JobStatus, SweepStatus
from distill_api.wire import TrainerStatus

type Manifest = dict[str, Any]
"""A Kubernetes object as JSON."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator was configured with, as far as decisions depend on it."""

    trainer_image: str
    progress_url: str | None
    """Base URL of the progress endpoint; None switches pushing off."""
    progress_ca: str | None
    """PEM of the authority behind it."""
    code_version: str
    progress_write_interval: timedelta = timedelta(seconds=5)
    lost_node_tolerance: timedelta = timedelta(seconds=30)
    """How long pods stay on a node that does not answer."""


@dataclass(frozen=True, slots=True)
class ObservedObject[Spec, Status]:
    """An object of ours itself."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    created: datetime
    deleting: bool
    finalizers: tuple[str, ...]
    spec: Spec | None
    spec_error: str | None
    """Why the spec could not be read (an object older than the schema); else None."""
    status: Status
    """As written last; an unreadable one counts as empty."""


ObservedJob = ObservedObject[DistillationJobSpec, JobStatus]


@dataclass(frozen=True, slots=True)
class ObservedStageJob:
    """A batch/v1 Job that belongs to a stage."""

    name: str
    uid: str
    stage: Stage
    attempt: int
    created: datetime
    suspended: bool
    active: int
    failed: int
    succeeded: int
    complete: bool
    finished: datetime | None
    failure: tuple[str, str] | None
    """Reason and message of the Job's Failed condition."""
    deleting: bool
    settings_digest: str | None = None
    """Of the changeable part of the spec that it was made from."""


@dataclass(frozen=True, slots=True)
class ObservedPod:
    """A pod of a stage's Job."""

    name: str
    uid: str
    stage: Stage
    attempt: int
    job_name: str
    created: datetime
    phase: str
    node: str | None
    deleting: bool
    disrupted: bool
    """DisruptionTarget is true: eviction, preemption, lost node."""
    unschedulable: str | None
    """The scheduler's message while the pod has no node."""
    waiting: tuple[str, str] | None
    """Reason and message of a container that cannot start (ErrImagePull, ...)."""
    started: datetime | None
    finished: datetime | None
    exit_code: int | None
    exit_reason: str | None
    """For example OOMKilled, Error, Completed."""
    termination_message: str | None
    """A Report as JSON, or the last lines of the log (FallbackToLogsOnError)."""
    mount_problem: str | None = None
    """Latest FailedMount or FailedAttachVolume event of a pod that is not started; else None."""


@dataclass(frozen=True, slots=True)
class ObservedClaim:
    """A PersistentVolumeClaim of the job, or the shared label cache."""

    name: str
    phase: str
    owned: bool
    """Owned by this job, and so removed with it."""
    deleting: bool


@dataclass(frozen=True, slots=True)
class ObservedProgress:
    """The latest push of a stage's pod."""

    pod_uid: str
    received: datetime
    status: TrainerStatus
    sweep: SweepStatus | None = None


@dataclass(frozen=True, slots=True)
class RefusedChild:
    """A child that the API server would not take in the pass before."""

    kind: str
    name: str
    message: str


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that was seen in one pass, in buckets, without judgement."""

    job: ObservedJob
    stage_jobs: tuple[ObservedStageJob, ...] = ()
    pods: tuple[ObservedPod, ...] = ()
    claims: tuple[ObservedClaim, ...] = ()
    progress: Mapping[Stage, ObservedProgress] = field(default_factory=dict)
    refused: tuple[RefusedChild, ...] = ()
    served: tuple[str, ...] = ()
    """Digests that rollouts name; looked for where the spec removes older students."""


@dataclass(frozen=True, slots=True)
class News:
    """A sentence worth a Kubernetes Event."""

    kind: Literal["Normal", "Warning"]
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything one pass wants to be true afterwards.

    A child that exists is never rendered anew: converging creates what is missing, deletes what is
    not wanted (only kinds and labels of ours, owned by the job), and patches of an existing Job
    nothing but `spec.suspend`, and `backoffLimit` once there are no more tries. So an operator
    upgrade never restarts a running stage.
    """

    children: tuple[Manifest, ...]
    """The full desired set: claims and Jobs."""
    status: JobStatus
    """What was observed; written once, only if different."""
    news: tuple[News, ...] = ()
    """Told after the status was written."""
    finalizers: tuple[str, ...] = ()
    """The finalizers of ours that the object should carry."""
    look_again: timedelta | None = None
    """When to plan again without a change; None: wait for one."""
    delete_job: bool = False
    """The object itself has outlived its TTL."""
