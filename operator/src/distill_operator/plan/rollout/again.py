"""When a rollout is looked at next without a change, and when its numbers are written."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from distill_operator.plan.rollout import shares
from distill_operator.plan.rollout.conditions import Claim
from distill_operator.plan.rollout.course import Outcome, State
from distill_operator.plan.rollout.memory import Memory
from distill_operator.plan.rollout.model import Settings
from distill_operator.plan.rollout.phases import RESTING, Phase

WAITING: Final = timedelta(seconds=30)
"""Pause while something outside has to happen; watches bring it forward."""
LEADING: Final = timedelta(seconds=0.25)
"""Pause while a weight is led up from nothing or down to it: it waits for seconds to go by."""
CALM: Final = timedelta(seconds=2)
"""Pause between two looks while the teacher is kept: there are days of them."""
KEEP_FAILED: Final = timedelta(minutes=5)
"""The pods of a rolled-back student stay so long: for their logs, and for a retry."""


def look(decided: Outcome, settings: Settings, *, now: datetime) -> timedelta | None:
    """Return when to plan again; None: wait for a change."""
    memory = decided.state.memory
    if memory.phase is Phase.PENDING:
        return WAITING
    if memory.phase not in RESTING:
        return _next(decided, settings)
    if decided.edit is not None or decided.here.refused.children:
        # What is not there yet is tried again: the API server may take it by then.
        return WAITING
    return None if memory.phase is not Phase.ROLLED_BACK else _left(memory, now=now)


def _next(decided: Outcome, settings: Settings) -> timedelta:
    memory = decided.state.memory
    if shares.led(memory, decided.here):
        return LEADING
    return CALM if memory.phase is Phase.PROMOTED else settings.look_interval


def _left(memory: Memory, *, now: datetime) -> timedelta | None:
    return None if given_up(memory, now=now) else KEEP_FAILED - _age(memory, now=now)


def given_up(memory: Memory, *, now: datetime) -> bool:
    """Tell whether a rolled-back student was kept long enough."""
    return memory.phase is Phase.ROLLED_BACK and _age(memory, now=now) >= KEEP_FAILED


def _age(memory: Memory, *, now: datetime) -> timedelta:
    return now - (memory.transition.at or now)


def write(
    before: State,
    decided: Outcome,
    claims: tuple[Sequence[Claim], Sequence[Claim]],
    settings: Settings,
    *,
    now: datetime,
) -> bool:
    """Tell whether this pass is worth a status write; claims: the old ones and the new ones.

    Every decision is. Numbers alone wait for the interval: what was not written is counted again
    by the next look, from what was written last.
    """
    old, new = before.memory, decided.state.memory
    if _values(claims[0]) != _values(claims[1]) or _decisions(old) != _decisions(new):
        return True
    if before == decided.state or old.clocks.looked_at is None:
        return before != decided.state
    # A clock that was set back must not keep the numbers from being written.
    return abs(now - old.clocks.looked_at) >= settings.write_interval


def _decisions(memory: Memory) -> tuple[object, ...]:
    verified, phase = memory.clocks.verified, memory.phase
    return (memory.transition, memory.weights, memory.fights, memory.tokens, verified, phase)


def _values(claims: Sequence[Claim]) -> dict[str, tuple[str, str]]:
    return {claim.kind: (claim.value, claim.reason) for claim in claims}
