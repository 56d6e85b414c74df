"""What a stage's Job is made from: frozen data that the planner fills in."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from distill_api.job import DistillationJobSpec
from distill_api.names import Stage
from distill_api.wire import Task

type Manifest = dict[str, Any]
"""A Kubernetes object as JSON."""


CLEANUP_RETRIES = 3
"""A workspace that cannot be removed must not hold the deletion of its job for ever."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The DistillationJob that the children belong to."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the operator adds to every pod."""

    image: str
    """Used where the spec names none."""
    progress_url: str | None
    progress_ca: str | None
    lost_node_tolerance: timedelta


@dataclass(frozen=True, slots=True)
class Order:
    """One stage's Job: whose, which, and with what."""

    name: str
    owner: Owner
    spec: DistillationJobSpec
    task: Task
    settings_digest: str
    suspend: bool
    around: Surroundings
    workspace_claim: str | None = None
    """Claim mounted as the workspace; None for one in an object store."""
    cache_claim: str | None = None
    """Claim mounted as the label cache; None where the stage or the spec needs none."""

    @property
    def stage(self) -> Stage:
        """Which stage."""
        return self.task.stage

    @property
    def retries(self) -> int:
        """How often it is tried again."""
        return CLEANUP_RETRIES if self.stage is Stage.CLEANUP else self.spec.retries
