"""The children of a rollout in each phase: made, applied, kept as they are, or left out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from distill_operator.plan.model import Manifest
from distill_operator.plan.rollout import again, deletion
from distill_operator.plan.rollout.course import Outcome
from distill_operator.plan.rollout.model import WHOLE, Arm, Child
from distill_operator.plan.rollout.phases import MEASURED, Phase
from distill_operator.plan.rollout.targets import UNTOUCHED
from distill_operator.plan.rollout.wanted import Wanted
from distill_operator.render.rollout import arm as arms
from distill_operator.render.rollout import prober, route
from distill_operator.render.rollout.order import ArmOrder


@dataclass(frozen=True, slots=True)
class Children:
    """The whole desired set; what is ours and in none of the three is deleted."""

    applied: tuple[Manifest, ...] = ()
    """By server-side apply: Deployments and Services."""
    made: tuple[Manifest, ...] = ()
    """Created where missing, and never written again: the route."""
    kept: tuple[Child, ...] = ()
    """Left as they are, if they are there."""
    orphaned: tuple[Child, ...] = ()
    """Left as they are, and no longer ours: they outlive the rollout."""


def of(
    decided: Outcome, wanted: Wanted, orphaned: tuple[Child, ...] = (), *, now: datetime
) -> Children:
    """Return the children of the phase that was decided; orphaned: those that outlive it."""
    memory = decided.state.memory
    if memory.phase in UNTOUCHED:
        return Children()
    made = (route.manifest(wanted.route),) if wanted.route is not None else ()
    if memory.phase is Phase.DELETING:
        # What was let go of must not be claimed again.
        applied = () if orphaned else tuple(_brought_back(decided, wanted, now=now))
        return Children(applied, (), (*_names(wanted), *_route(wanted)), orphaned)
    if memory.revision != wanted.revision:
        # The old student goes on with the pods that it has until it has no traffic any more.
        return Children(made=made, kept=tuple(_names(wanted)))
    return Children(applied=tuple(_applied(decided, wanted, now=now)), made=made)


def _names(wanted: Wanted) -> Iterator[Child]:
    for arm in Arm:
        yield Child("Deployment", wanted.backends.of(arm))
        yield Child("Service", wanted.backends.of(arm))
        yield Child("PodDisruptionBudget", wanted.backends.of(arm))
    if wanted.prober is not None:
        yield Child("Deployment", wanted.prober.name)
        yield Child("Service", wanted.prober.name)


def _route(wanted: Wanted) -> Iterator[Child]:
    if wanted.route is not None:
        yield Child("HTTPRoute", wanted.route.name)


def _applied(decided: Outcome, wanted: Wanted, *, now: datetime) -> Iterator[Manifest]:
    for arm in Arm:
        order = wanted.order(arm)
        if order is not None:
            yield arms.service(order)
            yield arms.budget(order)
            yield arms.deployment(_scaled(order, arm, decided, now=now))
    if wanted.prober is not None and wanted.prober.mirrored:
        # As long as the route: gateways report a mirror's missing Service as a fault of the route.
        yield prober.service(wanted.prober)
    if wanted.prober is not None and decided.state.memory.phase in MEASURED:
        yield prober.deployment(wanted.prober)


def _brought_back(decided: Outcome, wanted: Wanted, *, now: datetime) -> Iterator[Manifest]:
    """Yield the teacher where it was let go and has to take the traffic once more."""
    order = wanted.teacher
    same = decided.state.memory.revision == wanted.revision
    if order is not None and same and deletion.brings_back(decided):
        yield arms.deployment(_scaled(order, Arm.TEACHER, decided, now=now))


def _scaled(order: ArmOrder, arm: Arm, decided: Outcome, *, now: datetime) -> ArmOrder:
    """Return the order with no replicas for an arm that nobody needs any more."""
    memory = decided.state.memory
    if arm is Arm.STUDENT:
        idle = again.given_up(memory, now=now)
    else:
        # Only once every gateway carries the student's whole weight: until then requests come.
        alone = decided.here.verified and decided.here.memory.weights.desired == WHOLE
        idle = memory.phase is Phase.COMPLETED and alone
    return replace(order, replicas=0) if idle else order
