"""One pass through the machine: evidence, clocks, signals, at most one transition, its weight."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from distill_operator.plan.rollout import (
    clocks,
    evidence,
    judgement,
    moves,
    readiness,
    shares,
    signals,
    tokens,
    traffic,
)
from distill_operator.plan.rollout.clocks import Lived
from distill_operator.plan.rollout.evidence import Epoch, Evidence, Taken
from distill_operator.plan.rollout.judgement import Found, Judgement, Reading
from distill_operator.plan.rollout.memory import Memory, Split
from distill_operator.plan.rollout.model import (
    WHOLE,
    Arm,
    ObservedArm,
    ObservedArtifact,
    ObservedMetrics,
    ObservedRoute,
    ObservedTokens,
    Refusals,
    RouteEdit,
    Settings,
)
from distill_operator.plan.rollout.phases import MEASURED, RESTING, Phase, Signal
from distill_operator.plan.rollout.policy import Policy
from distill_operator.plan.rollout.situation import Situation
from distill_operator.plan.rollout.traffic import Backends, RouteSight
from distill_operator.statistics import split

SPLIT_AFTER_SECONDS: Final = 5.0
"""Seconds with a weight after which what is counted came by it alone.

Counters are read every second or two: a few requests of the weight before make a share of a
thousandth look wrong for ever.
"""


@dataclass(frozen=True, slots=True)
class Look:
    """What one pass sees of a rollout's surroundings."""

    route: ObservedRoute | None
    backends: Backends
    arms: Mapping[Arm, ObservedArm]
    revisions: Mapping[Arm, str | None]
    """That pods should have; None for a Service that somebody else runs."""
    metrics: ObservedMetrics = field(default_factory=lambda: ObservedMetrics(read=False))
    tokens: ObservedTokens = field(default_factory=lambda: ObservedTokens(known=False))
    artifact: ObservedArtifact = field(default_factory=ObservedArtifact)
    revision: str | None = None
    generation: int = 1
    deleting: bool = False
    rival: str | None = None
    refused: Refusals = field(default_factory=Refusals)
    unroutable: str | None = None
    """Why no route can be seen at all."""


@dataclass(frozen=True, slots=True)
class State:
    """What a rollout carries from pass to pass."""

    memory: Memory = field(default_factory=Memory)
    evidence: Evidence = field(default_factory=Evidence)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass decided."""

    state: State
    here: Situation
    """As it was before the transition, with this pass's clocks."""
    why: Mapping[Signal, str]
    """Every signal that held."""
    found: Found
    """The finding of each metric."""
    edit: RouteEdit | None = None
    writer: str | None = None
    """Field manager that wrote our rule last, where it was not us."""


def go(state: State, policy: Policy, look: Look, settings: Settings, *, now: datetime) -> Outcome:
    """Decide one pass. Pure: the same arguments give the same outcome.

    Clocks run on the exact time, so that none waits for a second to be over; all else is told in
    whole seconds.
    """
    exact, now = now, now.replace(microsecond=0)
    taken, found, kept = _measured(state, policy, look, now=now)
    asked = look.metrics.read and state.memory.phase in MEASURED
    reading = Reading(asked, taken.measured, look.metrics.problems)
    told = judgement.together(found, reading)
    here = _situation(state.memory, policy, look, told)
    here = replace(here, memory=_lived(here, taken.requests, settings, now=exact))
    why = signals.of(here)
    memory = moves.move(here, why, now=now)
    after = State(memory, _kept(kept, here, memory, policy))
    return _weighed(Outcome(after, here, why, found, writer=_writer(look)), look)


def _writer(look: Look) -> str | None:
    return look.route.weight_writer if look.route else None


def _measured(
    state: State, policy: Policy, look: Look, *, now: datetime
) -> tuple[Taken, Found, Evidence]:
    """Take in and judge; before the student has traffic there is nothing to measure."""
    memory = state.memory
    serving = memory.phase in MEASURED and memory.began is not None
    metrics = look.metrics if serving else ObservedMetrics(read=False)
    pods = frozenset(pod.uid for arm in look.arms.values() for pod in arm.pods)
    epoch = Epoch(memory.began or now, pods)
    taken = evidence.take(state.evidence, metrics, policy, epoch, now=now)
    found, kept = evidence.judge(
        taken,
        policy,
        read=metrics.read,
        per_second=per_second(memory),
        watched=memory.clocks.watched,
    )
    return taken, found, kept


def per_second(memory: Memory) -> float | None:
    """Return the student's requests a second in this step; None while it has just begun."""
    seconds = memory.clocks.soak
    return memory.step_requests / seconds if seconds > 0 else None


def _kept(found: Evidence, here: Situation, memory: Memory, policy: Policy) -> Evidence:
    """Return the evidence that goes on after a transition."""
    if memory.epoch != here.memory.epoch:
        return Evidence()
    if memory.step != here.memory.step:
        return evidence.of_next_step(found, policy.metrics)
    return found


def _situation(memory: Memory, policy: Policy, look: Look, told: Judgement) -> Situation:
    teacher, student = (
        readiness.look(look.arms.get(arm, ObservedArm()), look.revisions[arm]) for arm in Arm
    )
    return Situation(
        memory=memory,
        policy=policy,
        route=_route(look, policy),
        student=student,
        teacher=teacher,
        judgement=told,
        artifact=look.artifact,
        revision=look.revision,
        generation=look.generation,
        deleting=look.deleting,
        rival=look.rival,
        mismatch=mismatch(memory),
        refused=look.refused,
        tokens=tokens.look(look.tokens, look.arms.get(Arm.STUDENT, ObservedArm()), look.artifact),
        unroutable=look.unroutable,
    )


def _route(look: Look, policy: Policy) -> RouteSight:
    if look.unroutable is not None:
        return RouteSight(missing=look.unroutable)
    return traffic.look(look.route, look.backends, owns=policy.owns_route)


def mismatch(memory: Memory) -> str | None:
    """Return how the measured split differs from the configured one, if it surely does."""
    weight, counted = memory.weights.desired, memory.split
    if not 0 < weight < WHOLE or not memory.weights.confirmed:
        return None
    if not split.mismatch((counted.teacher, counted.student), (WHOLE - weight, weight)):
        return None
    total = counted.teacher + counted.student
    return (
        f"the student was sent {counted.student / total:.1%} of {total:,} requests where its weight"
        f" is {weight / 10:g}%"
    )


def _lived(here: Situation, requests: Split, settings: Settings, *, now: datetime) -> Memory:
    """Return the memory after the time and the requests of this look."""
    memory = here.memory
    if here.phase in RESTING:
        # Nothing runs on time here, and a status that stays equal is not written.
        return memory
    ticked = clocks.tick(memory.clocks, _found(here), settings.write_interval, now=now)
    counted, seen = memory.split, memory.step_requests
    if memory.weights.confirmed and here.route.carried and not here.foreign:
        seen += requests.student
        # The last look is the one that these counts are counted from.
        if memory.clocks.carried >= SPLIT_AFTER_SECONDS:
            counted = Split(counted.teacher + requests.teacher, counted.student + requests.student)
    return replace(memory, clocks=ticked, split=counted, step_requests=seen)


def _found(here: Situation) -> Lived:
    """Return what held in this look, for the clocks that run on it."""
    preparing, told = here.phase is Phase.PREPARING, here.judgement
    both = here.student.rolled_out and here.teacher.rolled_out
    waits = here.phase in (Phase.PREPARING, Phase.PROGRESSING, Phase.PROMOTING)
    # Other tokens than in training are an obstacle like any other before the first request.
    settled = here.verified and (not preparing or (both and here.tokens.different is None))
    asked = told.fresh or told.missing is not None
    return Lived(
        verified=here.verified and not here.foreign,
        carried=here.route.carried and here.route.share == here.memory.weights.desired,
        ready=both if preparing else here.student.ready > 0,
        down=here.phase in MEASURED and here.student.ready == 0,
        outage=told.missing is not None if asked else None,
        stalled=waits and not settled and not _excused(here),
        retaining=here.phase is Phase.PROMOTED,
        measured=here.phase in MEASURED,
    )


def _excused(here: Situation) -> bool:
    """Tell whether the rollout waits through no fault of its own: that uses up no deadline."""
    dead_teacher = here.phase is not Phase.PREPARING and here.teacher.ready == 0
    unseen = here.mismatch is not None or here.unroutable is not None
    return dead_teacher or here.conflict or unseen


def _weighed(decided: Outcome, look: Look) -> Outcome:
    """Return the outcome with the weight that the new phase asks for, and its patch."""
    memory, here = decided.state.memory, decided.here
    wanted = shares.desired(memory, here)
    if wanted is None:
        return decided
    stays = memory.phase in (here.phase, Phase.PAUSED)
    if here.conflict and stays and not shares.safety(wanted, here):
        return decided
    fights = here.foreign and memory.phase is here.phase
    memory = moves.weigh(memory, wanted, on_route=here.route.share, foreign=fights)
    if memory.transition.id != here.memory.transition.id:
        memory = moves.noted(memory, shares.borne(memory, here) or 0)
    edit = traffic.edit(
        look.route, look.backends, memory.weights.desired, owns=here.policy.owns_route
    )
    return replace(decided, state=replace(decided.state, memory=memory), edit=edit)
