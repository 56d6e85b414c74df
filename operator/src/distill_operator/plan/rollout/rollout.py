"""The plan for a rollout: from everything that was seen to everything that should be."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta

from distill_api.names import ROLLOUT_FINALIZER, RolloutReason
from distill_api.rollout import DistilledModelRolloutSpec
from distill_api.rollout_status import RolloutStatus, Savings
from pydantic import ValidationError

from distill_operator.plan import text
from distill_operator.plan.model import ObservedObject
from distill_operator.plan.rollout import (
    checklist,
    conditions,
    record,
    report,
    resolve,
    savings,
    turn,
)
from distill_operator.plan.rollout.children import Children
from distill_operator.plan.rollout.conditions import Claim
from distill_operator.plan.rollout.course import State
from distill_operator.plan.rollout.evidence import Position
from distill_operator.plan.rollout.memory import Memory, Transition
from distill_operator.plan.rollout.model import RouteEdit, Settings, Sights
from distill_operator.plan.rollout.news import Tidings
from distill_operator.plan.rollout.resolve import Given
from distill_operator.plan.rollout.turn import Scene, Subject, Turn
from distill_operator.plan.rollout.wanted import Wanted
from distill_operator.render.order import Owner

ObservedRollout = ObservedObject[DistilledModelRolloutSpec, RolloutStatus]


@dataclass(frozen=True, slots=True)
class Observed(Sights):
    """Everything that was seen in one pass, in buckets, without judgement."""

    rollout: ObservedRollout


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that one pass wants to be true afterwards, in the order in which it is done.

    First `finalizers` that are missing, then the status, and only over what was read: a decision
    that is not written yet must have no effect. Then the children, then the route; whether it
    came about is seen by the next pass. Then the news, and last the finalizers that go.
    """

    status: RolloutStatus
    """What was observed; written once, only if different."""
    children: Children = field(default_factory=Children)
    keeps_all: bool = False
    """No child is touched: nothing is known of what is wanted."""
    orphans_all: bool = False
    """Every child outlives the rollout: it goes, and nothing is known of who serves."""
    edit: RouteEdit | None = None
    news: tuple[Tidings, ...] = ()
    finalizers: tuple[str, ...] = ()
    """The finalizers of ours that the object should carry."""
    look_again: timedelta | None = None
    """When to plan again without a change; None: wait for one."""
    positions: Mapping[str, Position] = field(default_factory=dict)
    """How far the pairs of each metric were taken in, by this status."""


def plan(seen: Observed, settings: Settings, *, now: datetime) -> Plan:
    """Decide one pass. Pure and total: the same observation gives the same plan."""
    wanted, exact = wanted_by(seen, settings), now
    now = now.replace(microsecond=0)
    if wanted is None:
        return _unreadable(seen, now=now)
    scene = _scene(seen, wanted)
    taken = turn.take(scene, settings, now=exact)
    told = taken.decided.state if taken.write else scene.rollout.state
    return Plan(
        status=_status(seen, taken, wanted, now=now),
        children=taken.children,
        edit=taken.decided.edit,
        news=taken.news,
        finalizers=taken.finalizers,
        look_again=taken.look_again,
        positions=told.evidence.positions,
    )


def wanted_by(seen: Observed, settings: Settings) -> Wanted | None:
    """Return what the spec asks for; None where it cannot be read."""
    rollout = seen.rollout
    if rollout.spec is None:
        return None
    owner = Owner(rollout.namespace, rollout.name, rollout.uid)
    return resolve.of(Given(owner, rollout.spec, seen.artifact, settings, seen.previous))


def _scene(seen: Observed, wanted: Wanted) -> Scene:
    rollout, status = seen.rollout, seen.rollout.status
    subject = Subject(
        uid=rollout.uid,
        generation=rollout.generation,
        created=rollout.created,
        deleting=rollout.deleting,
        finalizers=rollout.finalizers,
        wanted=wanted,
        state=state(status),
        claims=_claims(status),
        warned=frozenset(m.name for m in status.metrics if m.warning),
    )
    return Scene(subject, **{sight.name: getattr(seen, sight.name) for sight in fields(Sights)})


def state(status: RolloutStatus) -> State:
    """Return what the rollout carried here.

    A record that another release wrote is not read: the rollout keeps its phase where that is at
    rest or promoted, and otherwise begins anew, which is safe, as the teacher serves meanwhile.
    """
    try:
        return record.load(status.record) if status.record else State()
    except ValidationError:
        resting = status.phase in record.KEPT
        last = Transition(after=status.phase) if resting else Transition()
        return State(Memory(transition=last, revision=status.revision if resting else None))


def _claims(status: RolloutStatus) -> tuple[Claim, ...]:
    return tuple(Claim(c.type, c.status, c.reason, c.message) for c in status.conditions)


def _status(seen: Observed, taken: Turn, wanted: Wanted, *, now: datetime) -> RolloutStatus:
    before = seen.rollout.status
    if not taken.write:
        return before
    status = report.of(before, taken, wanted, seen.artifact, now=now)
    status = status.model_copy(update={"savings": _savings(seen) or before.savings})
    if seen.rollout.spec is None:
        return status
    items = checklist.updated(before, checklist.Known(seen.rollout.spec, status))
    return status.model_copy(update={"checklist": items})


def _savings(seen: Observed) -> Savings | None:
    """Return what is saved; the job's cost counts where it is in the same currency."""
    if seen.rollout.spec is None:
        return None
    prices, found = seen.rollout.spec.prices, seen.artifact
    same = found.job_currency == prices.currency
    return savings.of(prices, found.job_cost if same else None)


def _unreadable(seen: Observed, *, now: datetime) -> Plan:
    """Touch nothing of a rollout whose spec cannot be read; deleting it must not hang."""
    rollout = seen.rollout
    error = rollout.spec_error or "it does not fit this operator's schema"
    message = text.cut(
        f"The spec cannot be read: {error}. Correct it, or use the operator that it is for;"
        " traffic stays as it is"
    )
    said = conditions.invalid(message)
    kept = tuple(c for c in _claims(rollout.status) if c.kind not in {s.kind for s in said})
    new = report.conditions(rollout.status.conditions, (*said, *kept), rollout.generation, now=now)
    changed = {c.type: (c.status, c.message) for c in new} != {
        c.type: (c.status, c.message) for c in rollout.status.conditions
    }
    after = rollout.status.model_copy(
        update={"conditions": new, "observed_generation": rollout.generation, "message": message}
    )
    held = tuple(name for name in rollout.finalizers if name == ROLLOUT_FINALIZER)
    told = Tidings("Warning", RolloutReason.INVALID_SPEC, text.cut(message, text.NOTE))
    return Plan(
        status=after if changed else rollout.status,
        keeps_all=True,
        orphans_all=rollout.deleting,
        news=(told,) if changed else (),
        finalizers=() if rollout.deleting else held,
    )
