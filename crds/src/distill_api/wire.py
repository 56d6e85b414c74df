"""What operator and trainer say to each other: Task, Report, Progress, and where files lie."""

from typing import Annotated, Final, Literal

from pydantic import Field

from distill_api.base import Model, NonNegativeInt, ShortText, Uri
from distill_api.job import DistillationJobSpec
from distill_api.names import Reason, Stage
from distill_api.status import (
    Artifact,
    EvaluationStatus,
    Lineage,
    Metric,
    Publication,
    SweepStatus,
    Usage,
)
from distill_api.targets import KeptDigest

WIRE_VERSION: Final = "kubedistill.io/wire.v1alpha1"

CONFIG_DIR: Final = "/etc/kubedistill"
"""Downward API volume: task.json and progress-ca.crt."""
TASK_FILE: Final = f"{CONFIG_DIR}/task.json"
PROGRESS_CA_FILE: Final = f"{CONFIG_DIR}/progress-ca.crt"
TOKEN_DIR: Final = "/var/run/kubedistill/progress"  # noqa: S105 - a folder, not a secret
TOKEN_FILE: Final = f"{TOKEN_DIR}/token"
SECRETS_DIR: Final = "/var/run/kubedistill/secrets"
"""Each Secret that the stage needs is mounted (optional) as a folder of its name below."""
VOLUMES_DIR: Final = "/volumes"
"""Each claim named by a pvc:// URI or a pvc target is mounted as a folder of its name below."""
WORKSPACE_DIR: Final = "/workspace"
CACHE_DIR: Final = "/labels"
SCRATCH_DIR: Final = "/tmp"  # noqa: S108 - an emptyDir of the pod
ENGINE_FOLDER: Final = "engine"
"""In SCRATCH_DIR: what a TensorRT engine is built from, and the engine; of two containers."""
ENGINE_PROGRAM: Final = "engine_program.py"
"""In ENGINE_FOLDER: what builds."""
VLLM_PROGRAM: Final = f"{SCRATCH_DIR}/vllm/vllm_launcher.py"
"""What starts and ends vLLM for a benchmark, in vLLM's container; the trainer lays it there."""
VLLM_LAUNCHER_PORT: Final = 8701
"""Where it listens, on the pod's loopback."""
VLLM_PORT: Final = 8702
"""Where the vLLM that it starts listens, likewise."""
REPORT_FILE: Final = "/dev/termination-log"
REPORT_LIMIT: Final = 4096
"""Bytes that Kubernetes keeps of a termination message."""

ENV_MASTER_ADDRESS: Final = "PET_MASTER_ADDR"
ENV_MASTER_PORT: Final = "PET_MASTER_PORT"
"""Where the processes of several pods meet; torchrun reads them as well."""
ENV_POD_INDEX: Final = "JOB_COMPLETION_INDEX"
"""Set by Kubernetes in the pods of an Indexed Job."""
ENV_PROGRESS_URL: Final = "KUBEFLOW_TRAINER_SERVER_URL"
ENV_PROGRESS_CA: Final = "KUBEFLOW_TRAINER_SERVER_CA_CERT"
ENV_PROGRESS_TOKEN: Final = "KUBEFLOW_TRAINER_SERVER_TOKEN"  # noqa: S105 - a variable's name
"""Kubeflow Trainer's names, so that a plain Hugging Face Trainer reports to us unchanged."""


class JobRef(Model):
    """The DistillationJob that a task belongs to."""

    namespace: ShortText
    """Namespace."""
    name: ShortText
    """Name."""
    uid: ShortText
    """UID."""


class Task(Model):
    """One stage to be done, with everything it needs to know."""

    version: Literal["kubedistill.io/wire.v1alpha1"] = WIRE_VERSION
    """Version of this protocol; another one is refused."""
    stage: Stage
    """Which stage."""
    attempt: NonNegativeInt = 0
    """Which attempt of the operator."""
    job: JobRef
    """Whose stage."""
    spec: DistillationJobSpec
    """The recipe."""
    workspace: Uri
    """`file:///workspace/...` or `s3://bucket/prefix/...`: this job's own folder."""
    label_cache: Uri | None = None
    """Folder where labels are shared with other jobs."""
    threads: Annotated[int, Field(ge=1)] = 1
    """Threads of tensor operations."""
    cpus: Annotated[float, Field(ge=0)] = 0
    """Cores that the pod was given, for the usage."""
    gpus: NonNegativeInt = 0
    """Accelerators that the pod was given."""
    max_attempts: Annotated[int, Field(ge=1)] = 4
    """Tries that the Job controller allows, for the sentence of a failure that may pass."""
    served: list[KeptDigest] | None = None
    """Of the publish stage: digests that rollouts name, which no retention removes."""


class Failure(Model):
    """Why a stage could not be done."""

    reason: Reason
    """One word for programs."""
    message: Annotated[str, Field(max_length=1500)]
    """What was wrong, what was expected, what to do."""


class Report(Model):
    """What came of a task. Its JSON is the termination message: at most REPORT_LIMIT bytes."""

    version: Literal["kubedistill.io/wire.v1alpha1"] = WIRE_VERSION
    """Version of this protocol."""
    stage: Stage
    """Which stage."""
    outcome: Literal["Done", "TryAgain", "GiveUp"]
    """Matches the exit status."""
    share: bool = False
    """Of a pod that did its share of the stage; the result is reported by the pod with index 0."""
    failure: Failure | None = None
    """Only when the outcome is not Done."""
    fingerprint: Annotated[str, Field(max_length=80)] | None = None
    """Digest of everything that the result depends on."""
    reused: bool = False
    """A complete result with this fingerprint was there already."""
    summary: Annotated[str, Field(max_length=400)] = ""
    """What came out, in a sentence."""
    usage: Usage = Usage()
    """What it used up."""
    sweep: SweepStatus | None = None
    """Of the train stage, where several students were trained."""
    evaluation: EvaluationStatus | None = None
    """Of the evaluate stage."""
    artifact: Artifact | None = None
    """Of the publish stage."""
    publications: Annotated[list[Publication], Field(max_length=8)] = []
    """Of the publish stage, also of one that failed: what came of each target."""
    lineage: Lineage | None = None
    """Of the train stage."""
    facts: dict[Annotated[str, Field(max_length=40)], Annotated[str, Field(max_length=80)]] = {}
    """Numbers for the checklist, for example records, duplicates, converged."""


class TrainerStatus(Model):
    """Body of a progress push, in Kubeflow Trainer's words."""

    progress_percentage: Annotated[int, Field(ge=0, le=100)] | None = None
    """Share that is done."""
    estimated_remaining_seconds: NonNegativeInt | None = None
    """Estimate of the time that is left."""
    metrics: Annotated[list[Metric], Field(max_length=64)] | None = None
    """Numbers such as step, loss."""
    last_updated_time: str | None = None
    """RFC 3339."""


class Progress(Model):
    """A progress push: POST to ENV_PROGRESS_URL with the projected token as bearer."""

    trainer_status: TrainerStatus
    """How far the stage is."""
    sweep: SweepStatus | None = None
    """The trials so far, where several students are trained."""
