"""Every name that appears in the cluster: group, labels, conditions, reasons, stages."""

from enum import IntEnum, StrEnum
from typing import Final

DIGEST: Final = "sha256:[0-9a-f]{64}"
"""Pattern of a digest of content."""

GROUP: Final = "kubedistill.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
JOB_KIND: Final = "DistillationJob"
JOB_PLURAL: Final = "distillationjobs"
ROLLOUT_KIND: Final = "DistilledModelRollout"
ROLLOUT_PLURAL: Final = "distilledmodelrollouts"
FIELD_MANAGER: Final = "kubedistill"
FINALIZER: Final = f"{GROUP}/workspace"
"""Held only by jobs whose workspace lies outside the cluster (s3://, gs://)."""
ROLLOUT_FINALIZER: Final = f"{GROUP}/traffic"
"""Held by every rollout that has touched a route, until its traffic is handed back."""
VARIANT_HEADER: Final = "x-model-variant"
"""Request header that the gateway sets to the arm, `teacher` or `student`."""

PROGRESS_AUDIENCE: Final = f"progress.{GROUP}"
"""Audience of the projected token with which a trainer pod pushes its progress."""


class Label(StrEnum):
    """Labels on the objects that the operator makes."""

    MANAGED_BY = "app.kubernetes.io/managed-by"
    PART_OF = "app.kubernetes.io/part-of"
    COMPONENT = "app.kubernetes.io/component"
    JOB = f"{GROUP}/job"
    JOB_UID = f"{GROUP}/job-uid"
    STAGE = f"{GROUP}/stage"
    ATTEMPT = f"{GROUP}/attempt"
    ROLLOUT = f"{GROUP}/rollout"
    ROLLOUT_UID = f"{GROUP}/rollout-uid"
    REVISION = f"{GROUP}/revision"
    """Of the pods of an arm: digest of what they were rendered from."""
    QUEUE = "kueue.x-k8s.io/queue-name"
    PRIORITY = "kueue.x-k8s.io/priority-class"


class Annotation(StrEnum):
    """Annotations on the objects that the operator makes."""

    TASK = f"{GROUP}/task"
    """The stage's Task as JSON; the pod reads it through the downward API."""
    PROGRESS_CA = f"{GROUP}/progress-ca"
    """PEM of the authority that signed the progress endpoint's certificate."""
    SETTINGS = f"{GROUP}/settings-digest"
    """On a stage's Job: digest of the changeable part of the spec that it was made from."""
    JOB_NAME = f"{GROUP}/job-name"
    """The full name of the owner where a label's 63 characters cannot hold it."""
    ROLLOUT_NAME = f"{GROUP}/rollout-name"
    """The same for what belongs to a rollout."""


class Stage(StrEnum):
    """The stages of a DistillationJob, in their order."""

    LABEL = "Label"
    PREPARE = "Prepare"
    TRAIN = "Train"
    QUANTIZE = "Quantize"
    EXPORT = "Export"
    ENGINE = "Engine"
    EVALUATE = "Evaluate"
    PUBLISH = "Publish"
    CLEANUP = "Cleanup"
    """Removes an external workspace when the object is deleted; never listed in status."""


class StageState(StrEnum):
    """Where one stage stands."""

    PENDING = "Pending"
    RUNNING = "Running"
    RETRYING = "Retrying"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    SKIPPED = "Skipped"
    FAILED = "Failed"


class ConditionType(StrEnum):
    """Conditions of a DistillationJob; `Succeeded` is the summary, the rest follow kstatus."""

    SUCCEEDED = "Succeeded"
    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    SUSPENDED = "Suspended"
    SCHEDULED = "Scheduled"


class Reason(StrEnum):
    """Why a condition of a DistillationJob has its value; also the reasons of events."""

    ACCEPTED = "Accepted"
    RUNNING = "Running"
    SUCCEEDED = "JobSucceeded"
    SUSPENDED = "SuspendedByUser"
    QUEUED = "QueuedByKueue"
    RESUMED = "Resumed"
    STAGE_STARTED = "StageStarted"
    STAGE_COMPLETE = "StageComplete"
    STAGE_REUSED = "StageReused"
    STAGE_RETRYING = "StageRetrying"
    STAGE_SKIPPED = "StageSkipped"
    INVALID_SPEC = "InvalidSpec"
    BAD_DATA = "BadData"
    DATA_UNREACHABLE = "DataUnreachable"
    TEACHER_UNREACHABLE = "TeacherUnreachable"
    BAD_MODEL = "BadModel"
    BAD_RECIPE = "BadRecipe"
    SECRET_MISSING = "SecretMissing"  # noqa: S105 - a reason, not a secret
    REGISTRY_UNREACHABLE = "RegistryUnreachable"
    VOLUME_FULL = "VolumeFull"
    OUT_OF_MEMORY = "OutOfMemory"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    UNSCHEDULABLE = "Unschedulable"
    VOLUME_UNAVAILABLE = "VolumeUnavailable"
    EVICTED = "Evicted"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    TRAINING_DIVERGED = "TrainingDiverged"
    QUALITY_GATE_FAILED = "QualityGateFailed"
    PUBLISHED = "Published"
    PUBLICATION_FAILED = "PublicationFailed"
    CRASHED = "Crashed"
    PEER_LOST = "PeerLost"
    REPORT_LOST = "ReportLost"
    CHILD_REFUSED = "ChildRefused"
    """The API server refused an object that the operator wanted to make."""
    EXPIRED = "Expired"


class RolloutPhase(StrEnum):
    """Where a DistilledModelRollout stands."""

    PENDING = "Pending"
    PREPARING = "Preparing"
    PROGRESSING = "Progressing"
    PAUSED = "Paused"
    PROMOTING = "Promoting"
    PROMOTED = "Promoted"
    COMPLETED = "Completed"
    ROLLING_BACK = "RollingBack"
    ROLLED_BACK = "RolledBack"
    FAILED = "Failed"
    DELETING = "Deleting"


class RolloutVerdict(StrEnum):
    """What the evidence says of a metric, or of all of them."""

    NO_DATA = "NoData"
    UNDECIDED = "Undecided"
    HEALTHY = "Healthy"
    REGRESSED = "Regressed"
    ENVIRONMENT_FAULT = "EnvironmentFault"


class RolloutConditionType(StrEnum):
    """Conditions of a DistilledModelRollout; `Promoted` is the summary."""

    PROMOTED = "Promoted"
    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    PAUSED = "Paused"
    ROLLED_BACK = "RolledBack"
    METRICS = "MetricsAvailable"
    ROUTE = "RouteResolved"
    VERIFIED = "WeightVerified"
    TEACHER = "TeacherAvailable"
    CHILDREN = "ChildrenApplied"
    TOKENS = "TokensAlike"
    CONFLICT = "Conflict"
    ROLLBACK_FAILED = "RollbackFailed"


class RolloutReason(StrEnum):
    """Why a rollout moved or a condition of it has its value; also the reasons of events.

    The first ones are named as the signals that move a rollout.
    """

    DELETED = "Deleted"
    ABORTED = "AbortedByUser"
    BROKEN = "ReferenceUnusable"
    CHANGED = "ModelChanged"
    CRASHED = "StudentUnavailable"
    REGRESSED = "MetricRegressed"
    OUTAGE = "MetricsOutage"
    OVERDUE = "DeadlineExceeded"
    RENEWED = "OldStudentDrained"
    RETURNED = "TrafficReturned"
    RETRIED = "RetriedByUser"
    REPAIRED = "ReferenceRepaired"
    OVERRIDDEN = "StepApprovedByUser"
    PASSED = "LastStepApprovedByUser"
    HELD = "Held"
    RESUMED = "Resumed"
    ACCEPTED = "ArtifactResolved"
    PREPARED = "ArmsReady"
    STEP_DONE = "StepDone"
    LAST_STEP_DONE = "LastStepDone"
    SETTLED = "FinalWeightsVerified"
    RETAINED = "TeacherReleased"

    WAITING = "Waiting"
    INVALID_SPEC = "InvalidSpec"
    CHILD_REFUSED = "ChildRefused"
    MEASURED = "Measured"
    NOT_MEASURED = "NotMeasured"
    NO_DATA = "NoData"
    CARRIED = "Carried"
    NOT_CARRIED = "NotCarried"
    NOT_FOUND = "NotFound"
    VERIFIED = "Verified"
    NOT_VERIFIED = "NotVerified"
    ARM_READY = "Ready"
    NOT_READY = "NotReady"
    LET_GO = "LetGo"
    APPLIED = "Applied"
    FOREIGN_WEIGHTS = "ForeignWeights"
    WEIGHTS_RESTORED = "WeightsRestored"
    NO_CONFLICT = "NoConflict"
    NO_ROLLBACK = "NoRollback"
    UNDER_WAY = "UnderWay"
    STUCK = "Stuck"
    WARNING = "MetricWarning"
    TOKENS_ALIKE = "TokensAlike"
    TOKENS_DIFFER = "TokensDiffer"
    TOKENS_UNCHECKED = "TokensUnchecked"
    TOKENS_UNKNOWN = "TokensUnknown"


class Exit(IntEnum):
    """What the trainer's exit status tells the Job controller."""

    DONE = 0
    TRY_AGAIN = 75
    """Counts against the Job's backoff limit (sysexits' EX_TEMPFAIL)."""
    PEER_LOST = 69
    """Another pod of the stage was lost: does not count, as that one counts (EX_UNAVAILABLE)."""
    GIVE_UP = 78
    """The podFailurePolicy fails the Job at once (sysexits' EX_CONFIG)."""
