"""The student's share: what the phase asks for, and what both sides can bear."""

from typing import Final

from distill_operator.plan.rollout import readiness
from distill_operator.plan.rollout.memory import Memory
from distill_operator.plan.rollout.model import WHOLE
from distill_operator.plan.rollout.phases import SERVING, Phase
from distill_operator.plan.rollout.situation import Situation

UNTOUCHED: Final = frozenset({Phase.PENDING, Phase.FAILED})
"""Phases in which the route is not ours yet, or can never be."""


def target(memory: Memory, here: Situation) -> int | None:
    """Return what the phase asks for, per mille; None: the route is left as it is."""
    phase, policy = memory.phase, here.policy
    if phase in UNTOUCHED:
        return None
    if phase is Phase.DELETING:
        return _left(memory, here)
    if phase is Phase.COMPLETED:
        return WHOLE
    if phase in (Phase.PROMOTING, Phase.PROMOTED):
        return WHOLE - policy.floor
    return policy.share(memory.step) if phase in SERVING else 0


def _left(memory: Memory, here: Situation) -> int | None:
    """Return what a deleted rollout leaves behind: a promoted student goes on serving."""
    if memory.transition.before in UNTOUCHED:
        return None
    promoted = memory.transition.before in (Phase.PROMOTED, Phase.COMPLETED)
    return WHOLE if promoted and not here.policy.hands_back else 0


def desired(memory: Memory, here: Situation) -> int | None:
    """Return the weight to write, per mille; None: the route is left as it is."""
    wanted, current = target(memory, here), here.route.share
    if wanted is None:
        return None
    if current is None:
        return 0 if wanted == 0 else memory.weights.desired
    borne = readiness.share(wanted, current, student=here.student, teacher=here.teacher)
    if borne > current and _too_soon(memory, here):
        return current
    return borne


def _too_soon(memory: Memory, here: Situation) -> bool:
    """Tell whether a student that had no endpoint has had one for too short a time."""
    clocks = memory.clocks
    return clocks.down > 0 and clocks.ready < here.policy.min_ready.total_seconds()


def safety(wanted: int, here: Situation) -> bool:
    """Tell whether a weight is written even over somebody else's, as requests would fail."""
    dead = here.student.ready == 0 and here.teacher.ready > 0
    return dead and wanted == 0
