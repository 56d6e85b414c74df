"""Conditions of a rollout: the truth about it, in the words of kstatus and of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final, Literal

from distill_operator.plan import text
from distill_operator.plan.rollout import signals, words
from distill_operator.plan.rollout.course import Outcome
from distill_operator.plan.rollout.phases import Phase

type Value = Literal["True", "False", "Unknown"]


class Kind(StrEnum):
    """Types of conditions."""

    PROMOTED = "Promoted"
    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    PAUSED = "Paused"
    ROLLED_BACK = "RolledBack"
    METRICS = "MetricsAvailable"
    ROUTE = "RouteResolved"
    VERIFIED = "WeightVerified"
    TEACHER = "TeacherAvailable"
    CONFLICT = "Conflict"
    ROLLBACK_FAILED = "RollbackFailed"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a condition says."""

    kind: Kind
    value: Value
    reason: str
    """One word for programs."""
    message: str


COLUMNS: Final = (
    Kind.PROMOTED,
    Kind.READY,
    Kind.RECONCILING,
    Kind.STALLED,
    Kind.PAUSED,
    Kind.ROLLED_BACK,
)
_GOING: Final = ("Unknown", "False", "True", "False", "False", "False")
TABLE: Final[Mapping[Phase, tuple[Value, ...]]] = {
    Phase.PENDING: _GOING,
    Phase.PREPARING: _GOING,
    Phase.PROGRESSING: _GOING,
    # Nothing is under way and nothing is wrong: a person is asked.
    Phase.PAUSED: ("Unknown", "False", "False", "False", "True", "False"),
    Phase.PROMOTING: _GOING,
    Phase.PROMOTED: ("True", "True", "False", "False", "False", "False"),
    Phase.COMPLETED: ("True", "True", "False", "False", "False", "False"),
    Phase.ROLLING_BACK: ("False", "False", "True", "False", "False", "False"),
    # Stalled is what tells kstatus, and so Flux and helm --wait, that waiting is in vain.
    Phase.ROLLED_BACK: ("False", "False", "False", "True", "False", "True"),
    Phase.FAILED: ("False", "False", "False", "True", "False", "False"),
    Phase.DELETING: ("Unknown", "False", "True", "False", "False", "False"),
}

if TABLE.keys() != set(Phase) or any(len(row) != len(COLUMNS) for row in TABLE.values()):
    raise AssertionError("every phase must have its row")


def of(decided: Outcome) -> tuple[Claim, ...]:
    """Return every condition."""
    return (*_of_phase(decided), *_of_surroundings(decided))


def _of_phase(decided: Outcome) -> tuple[Claim, ...]:
    memory = decided.state.memory
    said = words.decision(decided)
    row = zip(COLUMNS, TABLE[memory.phase], strict=True)
    return tuple(_claim(kind, value, memory.phase.value, said) for kind, value in row)


def _of_surroundings(decided: Outcome) -> tuple[Claim, ...]:
    return (
        _metrics(decided),
        _route(decided),
        _verified(decided),
        _teacher(decided),
        _conflict(decided),
        _rollback_failed(decided),
    )


def _metrics(decided: Outcome) -> Claim:
    told = decided.here.judgement
    if told.missing:
        return _claim(Kind.METRICS, "False", "NoData", told.missing)
    if told.fresh:
        return _claim(Kind.METRICS, "True", "Measured", "Every critical metric has numbers")
    return _claim(Kind.METRICS, "Unknown", "NotMeasured", "Nothing is measured at present")


def _route(decided: Outcome) -> Claim:
    route = decided.here.route
    if route.missing:
        return _claim(Kind.ROUTE, "False", "NotFound", route.missing)
    if route.unready:
        return _claim(Kind.ROUTE, "False", "NotCarried", route.unready)
    return _claim(Kind.ROUTE, "True", "Carried", "Every gateway carries the route")


def _verified(decided: Outcome) -> Claim:
    why = signals.obstacle(decided.here)
    if decided.here.verified:
        given = f"The student has {decided.here.memory.weights.desired / 10:g}% of the traffic"
        return _claim(Kind.VERIFIED, "True", "Verified", given)
    return _claim(Kind.VERIFIED, "False", "NotVerified", why or "The weight was just decided")


def _teacher(decided: Outcome) -> Claim:
    teacher = decided.here.teacher
    if teacher.ready > 0:
        return _claim(Kind.TEACHER, "True", "Ready", f"{teacher.ready} endpoints are ready")
    if decided.state.memory.phase is Phase.COMPLETED:
        return _claim(Kind.TEACHER, "False", "LetGo", "The teacher was kept long enough")
    why = f": {teacher.trouble}" if teacher.trouble else ""
    return _claim(Kind.TEACHER, "False", "NotReady", f"The teacher has no ready endpoint{why}")


def _conflict(decided: Outcome) -> Claim:
    here = decided.here
    if not here.conflict:
        return _claim(Kind.CONFLICT, "False", "NoConflict", "Nobody else writes the weights")
    given = (here.route.share or 0) / 10
    said = (
        f"Somebody else gave the student {given:g}% instead of"
        f" {here.memory.weights.desired / 10:g}%: put it back, or change the rollout"
    )
    return _claim(Kind.CONFLICT, "True", "ForeignWeights", said)


def _rollback_failed(decided: Outcome) -> Claim:
    """Say that a rollback does not come about: it is refused, or takes longer than the deadline."""
    memory, here = decided.state.memory, decided.here
    if here.phase is not Phase.ROLLING_BACK or memory.phase is not Phase.ROLLING_BACK:
        return _claim(Kind.ROLLBACK_FAILED, "False", "NoRollback", "No rollback is stuck")
    left = f"the student still has {(here.route.share or 0) / 10:g}% of the traffic"
    why = here.refused.route or signals.obstacle(here)
    if here.refused.route or _late(decided):
        said = f"Rolling back does not come about, {left}: {why or 'no reason is known'}"
        return _claim(Kind.ROLLBACK_FAILED, "True", "Stuck", said)
    return _claim(Kind.ROLLBACK_FAILED, "False", "UnderWay", "The rollback is under way")


def _late(decided: Outcome) -> bool:
    memory = decided.state.memory
    now, since = memory.clocks.looked_at, memory.transition.at
    if now is None or since is None:
        return False
    return now - since > max(decided.here.policy.progress_deadline / 10, timedelta(seconds=10))


def _claim(kind: Kind, value: Value, reason: str, message: str) -> Claim:
    return Claim(kind, value, reason, text.cut(message[:1].upper() + message[1:]))
