"""The arms: whether they can take requests, and which share they may get for it."""

from dataclasses import dataclass
from typing import Final

from distill_operator.plan import text
from distill_operator.plan.rollout.model import WHOLE, ObservedArm, ObservedPod

LOOPING_RESTARTS: Final = 3
"""Restarts of one container after which it counts as a crash loop."""
_LOOPS: Final = "CrashLoopBackOff"
WORDS: Final = 400
"""Characters of a container's last line that are told."""


@dataclass(frozen=True, slots=True)
class ArmSight:
    """What an arm shows."""

    ready: int
    """Endpoints that take requests."""
    wanted: int | None
    """Replicas; None for a Service that we do not run."""
    rolled_out: bool
    """Every replica is of the revision that was asked for, and ready."""
    looping: str | None = None
    """The sentence about a container that ends again and again."""
    trouble: str | None = None
    """Why it is not ready, as far as its pods tell."""


def look(arm: ObservedArm, revision: str | None) -> ArmSight:
    """Return what an arm shows; revision: the one that its pods should have, None for any."""
    pods = [pod for pod in arm.pods if not pod.deleting]
    wanted = arm.deployment.wanted if arm.deployment else None
    return ArmSight(
        ready=arm.ready_endpoints,
        wanted=wanted,
        rolled_out=_rolled_out(arm, revision),
        looping=next((said for said in map(_looping, pods) if said), None),
        trouble=_trouble(arm, pods),
    )


def _rolled_out(arm: ObservedArm, revision: str | None) -> bool:
    found = arm.deployment
    if found is None:
        # A Service that is not ours: all that is known is whether something answers behind it.
        return revision is None and arm.ready_endpoints > 0
    seen = found.observed_generation >= found.generation and found.revision == revision
    whole = found.wanted > 0 and found.updated >= found.wanted and found.ready >= found.wanted
    return seen and whole and not found.deleting and arm.ready_endpoints >= found.wanted


def _looping(pod: ObservedPod) -> str | None:
    waits = pod.waiting is not None and pod.waiting[0] == _LOOPS
    if pod.ready or not (waits or pod.restarts >= LOOPING_RESTARTS):
        return None
    times = "once" if pod.restarts == 1 else f"{pod.restarts} times"
    return f"pod {pod.name} has ended {times}{_ending(pod)}"


def _ending(pod: ObservedPod) -> str:
    if pod.ended is None:
        return ""
    reason, code = pod.ended
    words = f": {text.cut(pod.last_words, WORDS)}" if pod.last_words else ""
    return f", last with {reason} (status {code}){words}"


def _trouble(arm: ObservedArm, pods: list[ObservedPod]) -> str | None:
    if arm.deployment is None and not arm.service_found:
        return "its Service does not exist"
    if arm.deployment is not None and arm.deployment.problem:
        return arm.deployment.problem
    return next((said for said in map(_pod_trouble, pods) if said), None)


def _pod_trouble(pod: ObservedPod) -> str | None:
    if pod.ready:
        return None
    if pod.unschedulable:
        return f"pod {pod.name} finds no node: {pod.unschedulable}"
    if pod.waiting is not None:
        reason, message = pod.waiting
        return f"pod {pod.name}: {reason}{f' ({message})' if message else ''}{_ending(pod)}"
    if pod.ended is not None:
        return f"pod {pod.name} has ended{_ending(pod)}"
    return None


def share(target: int, current: int, *, student: ArmSight, teacher: ArmSight) -> int:
    """Return the student's weight that both sides can bear, per mille.

    target: what the rollout wants; current: what the route has. An arm without a ready endpoint
    gets nothing as long as the other one has some: gateways do not redistribute the share of a
    backend without endpoints, they answer 503. A teacher that is not whole takes traffic back in
    proportion to its ready replicas, and nobody is moved from one dead side to the other.
    """
    if student.ready == 0:
        return 0 if teacher.ready > 0 else min(target, current)
    if target >= current:
        return target
    return max(target, min(current, WHOLE - _capacity(teacher)))


def _capacity(teacher: ArmSight) -> int:
    """Return the share of all traffic that the teacher can take, per mille."""
    if teacher.ready == 0:
        return 0
    if teacher.wanted is None or teacher.ready >= teacher.wanted:
        return WHOLE
    return WHOLE * teacher.ready // teacher.wanted
