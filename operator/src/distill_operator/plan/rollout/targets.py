"""The share that each phase asks for, whatever the arms can bear."""

from typing import Final

from distill_operator.plan.rollout.memory import Memory
from distill_operator.plan.rollout.model import WHOLE
from distill_operator.plan.rollout.phases import SERVING, Phase
from distill_operator.plan.rollout.policy import Policy

UNTOUCHED: Final = frozenset({Phase.PENDING, Phase.FAILED})
"""Phases in which the route is not ours yet, or can never be."""


def target(memory: Memory, policy: Policy) -> int | None:
    """Return what the phase asks for, per mille; None: the route is left as it is."""
    phase = memory.phase
    if phase in UNTOUCHED:
        return None
    if phase is Phase.DELETING:
        return _left(memory, policy)
    if phase is Phase.COMPLETED:
        return WHOLE
    if phase in (Phase.PROMOTING, Phase.PROMOTED):
        return WHOLE - policy.floor
    return policy.share(memory.step) if phase in SERVING else 0


def _left(memory: Memory, policy: Policy) -> int | None:
    """Return what a deleted rollout leaves behind: a promoted student goes on serving."""
    if memory.transition.before in UNTOUCHED:
        return None
    promoted = memory.transition.before in (Phase.PROMOTED, Phase.COMPLETED)
    return WHOLE if promoted and not policy.hands_back else 0
