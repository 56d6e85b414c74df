"""Our kinds: what each CustomResourceDefinition says beside its schema."""

from dataclasses import dataclass
from typing import Any, Final

from distill_api import names
from distill_api.base import Model
from distill_api.job import DistillationJobSpec
from distill_api.rollout import DistilledModelRolloutSpec
from distill_api.rollout_status import RolloutStatus
from distill_api.status import JobStatus


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`."""

    name: str
    path: str
    about: str
    wide: bool = False
    """Only with `-o wide`."""
    type: str = "string"

    def manifest(self) -> dict[str, Any]:
        """Return the column as the definition spells it."""
        column = {
            "name": self.name,
            "type": self.type,
            "description": self.about,
            "jsonPath": self.path,
        }
        return column | {"priority": 1} if self.wide else column


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object."""

    kind: str
    plural: str
    short: str
    about: str
    """A sentence for `kubectl explain`."""
    promise: str
    """For the reference page: what its defaults and fixed fields are good for."""
    spec: type[Model]
    status: type[Model]
    selectable: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def name(self) -> str:
        """Name of the definition."""
        return f"{self.plural}.{names.GROUP}"


def _reason(condition: str) -> str:
    return f'.status.conditions[?(@.type=="{condition}")].reason'


_AGE: Final = Column("Age", ".metadata.creationTimestamp", "Time since creation.", type="date")

JOB: Final = Kind(
    kind=names.JOB_KIND,
    plural=names.JOB_PLURAL,
    short="djob",
    about=(
        "Distils a language model: a small student learns from a large teacher, is measured against"
        " it and published with a digest and a verdict."
    ),
    promise=(
        "`kubectl get djob NAME -o yaml` states the whole recipe and a later release changes no"
        " running job.\n*Fixed* fields cannot change after creation: a new recipe is a new object."
    ),
    spec=DistillationJobSpec,
    status=JobStatus,
    selectable=(".spec.component", ".status.stage"),
    columns=(
        Column("Stage", ".status.stage", "Stage that runs or ran last."),
        Column("Progress", ".status.progress", "How far that stage is."),
        Column("Retention", ".status.retention", "Student's quality against the teacher's."),
        Column("Speedup", ".status.speedup", "Student's speed against the teacher's.", wide=True),
        Column("Cost", ".status.costSummary", "What was spent so far.", wide=True),
        Column("Phase", ".status.phase", "Summary of the conditions.", wide=True),
        Column("Reason", _reason("Succeeded"), "Why the job stands where it does.", wide=True),
        Column("Published", ".status.published", "Targets that have the student.", wide=True),
        Column("Artifact", ".status.artifact.uri", "The published student."),
        _AGE,
    ),
)
ROLLOUT: Final = Kind(
    kind=names.ROLLOUT_KIND,
    plural=names.ROLLOUT_PLURAL,
    short="drollout",
    about=(
        "Rolls a distilled model out beside its teacher: traffic moves step by step while"
        " sequential tests watch, and goes back by itself if the student is worse."
    ),
    promise=(
        "`kubectl get drollout NAME -o yaml` states the whole policy and a later release changes"
        " no rollout under way.\n*Fixed* fields cannot change after creation; everything else may,"
        " and says what a change leads to."
    ),
    spec=DistilledModelRolloutSpec,
    status=RolloutStatus,
    selectable=(".spec.component", ".status.phase"),
    columns=(
        Column("Phase", ".status.phase", "Where the rollout stands."),
        Column("Step", ".status.columns.step", "Number of the step, and of all."),
        Column("Weight", ".status.columns.weight", "The student's share as decided."),
        Column("Share", ".status.columns.share", "The student's share as measured."),
        Column("Verdict", ".status.columns.verdict", "What the evidence says."),
        Column("Decision", ".status.columns.decision", "Time to the next decision."),
        Column("Teacher", ".status.arms.teacher.endpoint", "What serves the teacher.", wide=True),
        Column("Artifact", ".status.artifact.uri", "The student.", wide=True),
        Column("Reason", ".status.transition.reason", "Why it moved last.", wide=True),
        _AGE,
    ),
)
KINDS: Final = (JOB, ROLLOUT)
