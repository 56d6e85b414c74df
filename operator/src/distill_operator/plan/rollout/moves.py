"""What a signal makes of a rollout's memory: the transition, and what begins anew with it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from distill_operator.plan import text
from distill_operator.plan.rollout import clocks, phases
from distill_operator.plan.rollout.memory import (
    LONGEST_HISTORY,
    Clocks,
    Memory,
    Split,
    Tokens,
    Transition,
    Weights,
)
from distill_operator.plan.rollout.phases import Phase, Signal
from distill_operator.plan.rollout.situation import Situation


def move(here: Situation, found: Mapping[Signal, str], *, now: datetime) -> Memory:
    """Return the memory after the signal that counts; as it was where none does."""
    before = _tokens(here)
    signal = phases.first(before.phase, found)
    if signal is None:
        return before
    after = replace(
        before,
        transition=Transition(
            id=before.transition.id + 1,
            before=before.phase,
            after=phases.TABLE[before.phase][signal],
            at=now,
            signal=signal.name,
            why=text.cut(found[signal]),
        ),
        clocks=clocks.next_step(before.clocks),
    )
    return _begun(after, here, signal)


def _begun(after: Memory, here: Situation, signal: Signal) -> Memory:
    """Return the memory with what begins anew: a step, the evidence, or a command's one effect."""
    if signal in phases.NEW_STEP:
        after = replace(after, step=after.step + 1, step_requests=0, fights=0)
    if after.phase is Phase.PREPARING:
        after = _afresh(after, here, signal)
    if signal in phases.KEEPS_SOAK:
        after = replace(after, clocks=_kept(after.clocks, here.memory.clocks))
    if after.phase is Phase.ROLLING_BACK:
        # What was asked before this rollback is no wish to try again after it.
        after = replace(after, tokens=replace(after.tokens, retry=here.policy.commands.retry))
    return _told(after)


def _told(after: Memory) -> Memory:
    """Return the memory with the transition in its history, which is bounded."""
    transition = replace(after.transition, step=after.step)
    history = (*after.history, transition)[-LONGEST_HISTORY:]
    return replace(after, transition=transition, history=history)


def _kept(fresh: Clocks, before: Clocks) -> Clocks:
    """Return the clocks of a step that goes on: a pause does not undo what was watched."""
    return replace(fresh, soak=before.soak, verified=before.verified, stalled=before.stalled)


def _afresh(after: Memory, here: Situation, signal: Signal) -> Memory:
    commands = here.policy.commands
    return replace(
        after,
        step=0,
        step_requests=0,
        fights=0,
        revision=here.revision,
        epoch=after.epoch + 1,
        began=after.transition.at,
        split=Split(),
        clocks=replace(after.clocks, ready=0, down=0, outage=0, watched=0),
        weights=replace(after.weights, desired=0),
        tokens=replace(
            after.tokens,
            retry=commands.retry,
            promote=None if signal is Signal.ACCEPTED else commands.promote,
        ),
    )


def _tokens(here: Situation) -> Memory:
    """Return the memory with what a new generation of the spec wipes away."""
    memory, promote = here.memory, here.policy.commands.promote
    stale = memory.tokens.promote if memory.tokens.promote == promote else None
    tokens = Tokens(memory.tokens.retry, stale, here.generation)
    fights = memory.fights if memory.tokens.generation == here.generation else 0
    steps = min(memory.step, len(here.policy.steps) - 1)
    return replace(memory, tokens=tokens, fights=fights, step=steps)


def weigh(before: Memory, desired: int, *, on_route: int | None, foreign: bool) -> Memory:
    """Return the memory with the weight that is written now.

    on_route: the student's weight there at present; foreign: it is somebody else's and is
    written over.
    """
    weights = before.weights
    if desired != weights.desired or foreign:
        weights = Weights(desired, previous=on_route, confirmed=False)
        fresh = replace(before.clocks, carried=0, weighed=0)
        before = replace(before, split=Split(), fights=before.fights + foreign, clocks=fresh)
    if on_route == desired and not weights.confirmed:
        weights = replace(weights, confirmed=True)
    return replace(before, weights=weights)


def noted(memory: Memory, weight: int) -> Memory:
    """Return the memory with the weight beside the transition that decided it."""
    note = replace(memory.transition, weight=weight)
    return replace(memory, transition=note, history=(*memory.history[:-1], note))
