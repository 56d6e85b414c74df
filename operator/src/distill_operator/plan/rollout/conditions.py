"""Conditions of a rollout: the truth about it, in the words of kstatus and of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from distill_api.names import RolloutConditionType, RolloutReason

from distill_operator.plan import text
from distill_operator.plan.rollout import phases, signals, words
from distill_operator.plan.rollout.course import Outcome
from distill_operator.plan.rollout.phases import Phase
from distill_operator.plan.rollout.tokens import Fidelity

type Value = Literal["True", "False", "Unknown"]


Kind = RolloutConditionType
"""Short, as every rule names it."""
R = RolloutReason


@dataclass(frozen=True, slots=True)
class Claim:
    """What a condition says."""

    kind: Kind
    value: Value
    reason: RolloutReason
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


def invalid(message: str) -> tuple[Claim, ...]:
    """Return the conditions of a rollout whose spec cannot be read."""
    return (
        Claim(Kind.READY, "False", R.INVALID_SPEC, message),
        Claim(Kind.RECONCILING, "False", R.INVALID_SPEC, message),
        Claim(Kind.STALLED, "True", R.INVALID_SPEC, message),
    )


def _of_phase(decided: Outcome) -> tuple[Claim, ...]:
    memory = decided.state.memory
    said = words.decision(decided)
    row = zip(COLUMNS, TABLE[memory.phase], strict=True)
    why = phases.reason(memory.transition.signal)
    return tuple(_claim(kind, value, why, said) for kind, value in row)


def _of_surroundings(decided: Outcome) -> tuple[Claim, ...]:
    return (
        _metrics(decided),
        _route(decided),
        _verified(decided),
        _teacher(decided),
        _children(decided),
        _tokens(decided),
        _conflict(decided),
        _rollback_failed(decided),
    )


def _metrics(decided: Outcome) -> Claim:
    told = decided.here.judgement
    if told.missing:
        return _claim(Kind.METRICS, "False", R.NO_DATA, told.missing)
    if told.fresh:
        return _claim(Kind.METRICS, "True", R.MEASURED, "Every critical metric has numbers")
    return _claim(Kind.METRICS, "Unknown", R.NOT_MEASURED, "Nothing is measured at present")


def _route(decided: Outcome) -> Claim:
    route = decided.here.route
    if route.missing:
        return _claim(Kind.ROUTE, "False", R.NOT_FOUND, route.missing)
    if route.unready:
        return _claim(Kind.ROUTE, "False", R.NOT_CARRIED, route.unready)
    return _claim(Kind.ROUTE, "True", R.CARRIED, "Every gateway carries the route")


def _verified(decided: Outcome) -> Claim:
    why = signals.obstacle(decided.here)
    if decided.here.verified:
        given = f"The student has {decided.here.memory.weights.desired / 10:g}% of the traffic"
        return _claim(Kind.VERIFIED, "True", R.VERIFIED, given)
    return _claim(Kind.VERIFIED, "False", R.NOT_VERIFIED, why or "The weight was just decided")


def _teacher(decided: Outcome) -> Claim:
    teacher = decided.here.teacher
    if teacher.ready > 0:
        return _claim(Kind.TEACHER, "True", R.ARM_READY, f"{teacher.ready} endpoints are ready")
    if decided.state.memory.phase is Phase.COMPLETED:
        return _claim(Kind.TEACHER, "False", R.LET_GO, "The teacher was kept long enough")
    why = f": {teacher.trouble}" if teacher.trouble else ""
    return _claim(Kind.TEACHER, "False", R.NOT_READY, f"The teacher has no ready endpoint{why}")


def _children(decided: Outcome) -> Claim:
    said = signals.refusal(decided.here)
    if said is None:
        return _claim(Kind.CHILDREN, "True", R.APPLIED, "The API server refused nothing")
    return _claim(Kind.CHILDREN, "False", R.CHILD_REFUSED, said)


_OF_TOKENS: Final[Mapping[Fidelity, tuple[Value, RolloutReason]]] = {
    Fidelity.ALIKE: ("True", R.TOKENS_ALIKE),
    Fidelity.UNCHECKED: ("Unknown", R.TOKENS_UNCHECKED),
    Fidelity.UNANSWERED: ("Unknown", R.TOKENS_UNKNOWN),
    Fidelity.DIFFERENT: ("False", R.TOKENS_DIFFER),
}


def _tokens(decided: Outcome) -> Claim:
    found = decided.here.tokens
    value, reason = _OF_TOKENS[found.fidelity]
    return _claim(Kind.TOKENS, value, reason, found.sentence)


def carried(now: Sequence[Claim], before: Sequence[Claim], kind: Kind) -> tuple[Claim, ...]:
    """Return the conditions with one of them as it was before, if it was there."""
    old = next((claim for claim in before if claim.kind is kind), None)
    return tuple(old if old is not None and claim.kind is kind else claim for claim in now)


def _conflict(decided: Outcome) -> Claim:
    here = decided.here
    if not here.conflict:
        return _claim(Kind.CONFLICT, "False", R.NO_CONFLICT, "Nobody else writes the weights")
    given = (here.route.share or 0) / 10
    said = (
        f"Somebody else gave the student {given:g}% instead of"
        f" {here.memory.weights.desired / 10:g}%: put it back, or change the rollout"
    )
    return _claim(Kind.CONFLICT, "True", R.FOREIGN_WEIGHTS, said)


def _rollback_failed(decided: Outcome) -> Claim:
    """Say that a rollback does not come about: it is refused, or takes longer than the deadline."""
    memory, here = decided.state.memory, decided.here
    if here.phase is not Phase.ROLLING_BACK or memory.phase is not Phase.ROLLING_BACK:
        return _claim(Kind.ROLLBACK_FAILED, "False", R.NO_ROLLBACK, "No rollback is stuck")
    left = f"the student still has {(here.route.share or 0) / 10:g}% of the traffic"
    why = here.refused.route or signals.obstacle(here)
    if here.refused.route or _late(decided):
        said = f"Rolling back does not come about, {left}: {why or 'no reason is known'}"
        return _claim(Kind.ROLLBACK_FAILED, "True", R.STUCK, said)
    return _claim(Kind.ROLLBACK_FAILED, "False", R.UNDER_WAY, "The rollback is under way")


def _late(decided: Outcome) -> bool:
    memory = decided.state.memory
    now, since = memory.clocks.looked_at, memory.transition.at
    if now is None or since is None:
        return False
    return now - since > max(decided.here.policy.progress_deadline / 10, timedelta(seconds=10))


def _claim(kind: Kind, value: Value, reason: RolloutReason, message: str) -> Claim:
    return Claim(kind, value, reason, text.cut(message[:1].upper() + message[1:]))
