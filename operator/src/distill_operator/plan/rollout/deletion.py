"""Deleting a rollout: traffic is handed over, who serves is kept, and nothing hangs for ever."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from distill_operator.plan.rollout import targets
from distill_operator.plan.rollout.course import Outcome
from distill_operator.plan.rollout.memory import LONGEST_HISTORY, Memory
from distill_operator.plan.rollout.model import Arm, Child, Settings, Sights
from distill_operator.plan.rollout.phases import SERVING, Phase
from distill_operator.plan.rollout.wanted import Wanted

GAVE_UP: Final = "Gave up"


@dataclass(frozen=True, slots=True)
class Farewell:
    """How far a deleted rollout is on its way out."""

    orphaned: tuple[Child, ...] = ()
    """Children that go on without it: requests depend on them."""
    released: str | None = None
    """Why it may go now, as a sentence; None: it may not."""


def of(
    decided: Outcome, seen: Sights, wanted: Wanted, settings: Settings, *, now: datetime
) -> Farewell:
    """Return how far the rollout is: the traffic first, then what serves is let go of, then it."""
    said = _settled(decided, settings, now=now)
    if said is None:
        return Farewell()
    kept = tuple(heirs(decided, wanted))
    left = [child for child in kept if child in set(_bound(seen, wanted))]
    # Half as long again: a rollout that gave up the traffic has still to let go of what serves.
    if left and not _over(decided.state.memory, settings.deletion_deadline * 1.5, now=now):
        return Farewell(kept)
    return Farewell(kept, _goodbye(decided, said, kept, left))


def _settled(decided: Outcome, settings: Settings, *, now: datetime) -> str | None:
    """Return where the traffic is for good, as a sentence; None: it is not handed over yet."""
    memory, here = decided.state.memory, decided.here
    if memory.phase is not Phase.DELETING:
        return None
    wanted = targets.target(memory, here.policy)
    if wanted is None or (here.route.missing and not here.unroutable):
        return "No traffic was the rollout's any more"
    if here.route.share == wanted and here.route.carried:
        return f"The student keeps {wanted / 10:g}% of the traffic, verified"
    return _too_late(decided, settings, now=now)


def _too_late(decided: Outcome, settings: Settings, *, now: datetime) -> str | None:
    """Give up after the deadline, so that a namespace can go; the sentence says what is left."""
    limit = settings.deletion_deadline
    if brings_back(decided):
        limit = max(limit, decided.here.policy.progress_deadline)
    if not _over(decided.state.memory, limit, now=now):
        return None
    here = decided.here
    if here.unroutable:
        return f"{GAVE_UP} handing traffic back: {here.unroutable}. Look at the weights by hand"
    why = here.refused.route or here.route.unready or "the weight did not change"
    return (
        f"{GAVE_UP} handing traffic back ({why}): the route still gives the student"
        f" {(here.route.share or 0) / 10:g}%. Correct its weights by hand"
    )


def _over(memory: Memory, limit: timedelta, *, now: datetime) -> bool:
    return memory.transition.at is not None and now - memory.transition.at >= limit


def brings_back(decided: Outcome) -> bool:
    """Tell whether a teacher that was let go already has to serve again before the rollout goes."""
    memory = decided.state.memory
    gone = memory.phase is Phase.DELETING and memory.transition.before is Phase.COMPLETED
    return gone and decided.here.policy.hands_back


def heirs(decided: Outcome, wanted: Wanted) -> Iterator[Child]:
    """Yield the children that outlive the rollout: our route, what it names, and who serves.

    Whatever the policy, requests go on: the garbage collector would take away the Deployment that
    they go to. Also a Service that has no requests any more is kept where the route names it, as
    gateways report a backend that does not exist as a fault of the whole route.
    """
    if _untried(decided.state.memory):
        return
    here, runs = decided.here, wanted.runs
    # Where no route can be seen, anybody may serve.
    named, reached = (runs, runs) if here.unroutable else (here.route.named, here.route.reached)
    for arm in Arm:
        if arm in runs & named:
            yield Child("Service", wanted.backends.of(arm))
        if arm in runs & reached:
            yield Child("Deployment", wanted.backends.of(arm))
            yield Child("PodDisruptionBudget", wanted.backends.of(arm))
    if wanted.route is not None and reached:
        yield Child("HTTPRoute", wanted.route.name)
        if wanted.route.mirror is not None:
            yield Child("Service", wanted.route.mirror.service)


def _untried(memory: Memory) -> bool:
    """Tell whether it is deleted before its first step: then nobody depends on it yet.

    A history that may have lost its beginning proves nothing.
    """
    served = any(entry.after in SERVING for entry in memory.history)
    whole = len(memory.history) < LONGEST_HISTORY
    return memory.transition.before is Phase.PREPARING and whole and not served


def _bound(seen: Sights, wanted: Wanted) -> Iterator[Child]:
    """Yield the children that would go with the rollout now."""
    for arm, found in ((Arm.TEACHER, seen.teacher), (Arm.STUDENT, seen.student)):
        if found.service_bound:
            yield Child("Service", wanted.backends.of(arm))
        if found.deployment is not None and found.deployment.bound:
            yield Child("Deployment", wanted.backends.of(arm))
    if seen.route is not None and seen.route.bound:
        yield Child("HTTPRoute", seen.route.name)


def _goodbye(decided: Outcome, said: str, kept: tuple[Child, ...], left: list[Child]) -> str:
    """Return the last sentence: where the traffic is, what stays, and what could not be kept."""
    if left:
        lost = ", ".join(f"{child.kind} {child.name}" for child in left)
        why = next((refused.message for refused in decided.here.refused.children), "no answer")
        return f"{GAVE_UP} keeping {lost} ({why}): what is not made again will be missing. {said}"
    if not kept:
        return said
    return f"{said}. Kept: {', '.join(f'{child.kind} {child.name}' for child in kept)}"
