"""Deleting a rollout: traffic is handed back first, but nothing hangs for ever."""

from datetime import datetime
from typing import Final

from distill_operator.plan.rollout import targets
from distill_operator.plan.rollout.course import Outcome
from distill_operator.plan.rollout.memory import Memory
from distill_operator.plan.rollout.model import Settings
from distill_operator.plan.rollout.phases import Phase

GAVE_UP: Final = "Gave up"


def released(decided: Outcome, settings: Settings, *, now: datetime) -> str | None:
    """Return why the rollout may go now, as a sentence; None: traffic is not handed back yet."""
    memory, here = decided.state.memory, decided.here
    if memory.phase is not Phase.DELETING:
        return None
    wanted = targets.target(memory, here.policy)
    if wanted is None or here.route.missing:
        return "No traffic was the rollout's any more"
    if here.route.share == wanted and here.route.carried:
        return f"The student keeps {wanted / 10:g}% of the traffic, verified"
    return _too_late(memory, decided, settings, now=now)


def _too_late(memory: Memory, decided: Outcome, settings: Settings, *, now: datetime) -> str | None:
    """Give up after the deadline, so that a namespace can go; the sentence says what is left."""
    since = memory.transition.at
    if since is None or now - since < settings.deletion_deadline:
        return None
    share = decided.here.route.share or 0
    why = decided.here.refused.route or decided.here.route.unready or "the weight did not change"
    return (
        f"{GAVE_UP} handing traffic back ({why}): the route still gives the student"
        f" {share / 10:g}%. Correct its weights by hand"
    )
