"""What rollouts of tests are made of: times, names, a policy, orders and a route."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from distill_api.rollout_arms import ServingDeployment
from distill_api.rollout_route import OwnedRoute, ParentReference
from distill_operator.plan.rollout import wanted
from distill_operator.plan.rollout.model import (
    WHOLE,
    Arm,
    ObservedBackend,
    ObservedParent,
    ObservedRoute,
    Settings,
)
from distill_operator.plan.rollout.policy import Metric, Policy, Step
from distill_operator.plan.rollout.traffic import Backends
from distill_operator.render.order import Owner
from distill_operator.render.rollout.order import (
    ArmOrder,
    Backend,
    Model,
    RouteOrder,
)
from distill_operator.statistics import comparison, quality, rate, sprt

NOW: Final = datetime(2026, 11, 25, 12, tzinfo=UTC)
SETTINGS: Final = Settings(server_image="server", prober_image="prober")
BACKENDS: Final = Backends("minilm-teacher", "minilm-student")
OWNER: Final = Owner("team-a", "minilm", "0a1b2c3d")
A_ROUTE_ORDER: Final = RouteOrder(
    owner=OWNER,
    name="minilm",
    route=OwnedRoute(parent_refs=[ParentReference(name="edge")]),
    teacher=Backend("teacher", BACKENDS.teacher, 8080),
    student=Backend("student", BACKENDS.student, 8080),
)
ERRORS: Final = Metric(
    rate.Rule(
        metric="errors",
        what="failed",
        design=sprt.Design(0.005, 0.01, 0.004, 0.05),
        contest=comparison.Design(2, 0.01, 0.05),
    )
)
METRICS: Final = {
    "errors": ERRORS,
    # Nobody measures these two here.
    "latency": replace(ERRORS, rule=replace(ERRORS.rule, metric="latency", what="were slow")),
    "quality": Metric(quality.Rule("quality", "nDCG@10", 0.98, 0.95, 0.003, 0.05)),
}
STEPS: Final = tuple(Step(weight, timedelta(minutes=1)) for weight in (5, 10, 25, 50, 100))
POLICY: Final = Policy(
    steps=STEPS, metrics=(ERRORS,), retention=timedelta(hours=1), max_soak=timedelta(hours=4)
)


@dataclass(slots=True)
class Pod:
    """One pod's process: how it is, and what it has counted."""

    uid: str
    revision: str | None
    ready: bool = True
    started: datetime = NOW
    restarts: int = 0
    waiting: tuple[str, str] | None = None
    ended: tuple[str, int] | None = None
    requests: int = 0
    errors: int = 0


@dataclass(slots=True)
class Side:
    """One arm."""

    replicas: int = 2
    pods: list[Pod] = field(default_factory=list)
    error_rate: float = 0.0
    ours: bool = True

    @property
    def ready(self) -> int:
        return sum(pod.ready for pod in self.pods)


def an_order(arm: Arm, revision: str, replicas: int) -> ArmOrder:
    """Return the order of an arm of that revision of its model."""
    order = ArmOrder(
        owner=OWNER,
        arm=arm.value,
        name=BACKENDS.of(arm),
        revision="",
        deployment=ServingDeployment(),
        image="server",
        model=Model(reference=f"registry/minilm@{revision}"),
        served_name="minilm",
        replicas=replicas,
    )
    return replace(order, revision=wanted.revision(order) or "")


def a_route(student: int = 0) -> ObservedRoute:
    """Return the route with the student's weight per mille."""
    return ObservedRoute(
        name="minilm",
        uid="route",
        generation=1,
        resource_version="1",
        owned=True,
        rule=0,
        backends=(
            ObservedBackend(BACKENDS.teacher, WHOLE - student, 8080),
            ObservedBackend(BACKENDS.student, student, 8080),
        ),
        parents=(ObservedParent("edge", accepted=True, resolved=True, observed_generation=1),),
    )
