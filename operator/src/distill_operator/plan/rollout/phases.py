"""Which phase follows which: one table of what may be signalled, and where that leads."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final

from distill_api.names import RolloutPhase, RolloutReason

Phase = RolloutPhase
"""Short, as every rule names it."""


class Signal(StrEnum):
    """What moves a rollout; where several hold at once, the one that stands first here counts.

    So abort beats everything but deletion, what is bad beats what is good, and going on is last.
    """

    DELETED = "the object is deleted"
    ABORTED = "spec.abort is true"
    BROKEN = "the artifact or the route can never be used"
    CHANGED = "student or teacher were changed"
    CRASHED = "the student takes no requests"
    REGRESSED = "a metric is beyond its limit"
    OUTAGE = "metrics are missing for too long"
    OVERDUE = "nothing moves within the deadline"
    RENEWED = "no traffic reaches the old student any more"
    RETURNED = "no traffic reaches the student any more"
    RETRIED = "spec.retry has a new value"
    REPAIRED = "what could not be used was changed"
    OVERRIDDEN = "spec.promote lets the paused step pass"
    PASSED = "spec.promote lets the paused last step pass"
    HELD = "somebody or a policy asks to wait"
    RESUMED = "nothing asks to wait any more"
    ACCEPTED = "the artifact is known"
    PREPARED = "both arms are ready"
    STEP_DONE = "the step has soaked and is healthy"
    LAST_STEP_DONE = "the last step has soaked and is healthy"
    SETTLED = "the final weights are verified"
    RETAINED = "the teacher was kept long enough"


P, S = Phase, Signal

if any(signal.name not in RolloutReason.__members__ for signal in Signal):
    raise AssertionError("every signal must have its reason in the contract")

_BAD: Final[dict[Signal, Phase]] = {
    S.ABORTED: P.ROLLING_BACK,
    S.CHANGED: P.ROLLING_BACK,
    S.CRASHED: P.ROLLING_BACK,
    S.REGRESSED: P.ROLLING_BACK,
    S.OUTAGE: P.ROLLING_BACK,
    S.OVERDUE: P.ROLLING_BACK,
}
"""What takes the student's traffic away, in every phase in which it has some."""
_DELETED: Final[dict[Signal, Phase]] = {S.DELETED: P.DELETING}

TABLE: Final[Mapping[Phase, Mapping[Signal, Phase]]] = {
    P.PENDING: _DELETED
    | {
        S.ABORTED: P.ROLLED_BACK,
        S.BROKEN: P.FAILED,
        S.ACCEPTED: P.PREPARING,
    },
    P.PREPARING: _DELETED
    | {
        S.ABORTED: P.ROLLING_BACK,
        S.BROKEN: P.FAILED,
        S.CHANGED: P.PREPARING,
        S.CRASHED: P.ROLLING_BACK,
        S.OVERDUE: P.ROLLING_BACK,
        S.PREPARED: P.PROGRESSING,
    },
    P.PROGRESSING: _DELETED
    | _BAD
    | {
        S.HELD: P.PAUSED,
        S.STEP_DONE: P.PROGRESSING,
        S.LAST_STEP_DONE: P.PROMOTING,
    },
    P.PAUSED: _DELETED
    | _BAD
    | {
        S.OVERRIDDEN: P.PROGRESSING,
        S.PASSED: P.PROMOTING,
        S.RESUMED: P.PROGRESSING,
    },
    P.PROMOTING: _DELETED | _BAD | {S.SETTLED: P.PROMOTED},
    P.PROMOTED: _DELETED
    | {
        S.ABORTED: P.ROLLING_BACK,
        S.CHANGED: P.ROLLING_BACK,
        S.CRASHED: P.ROLLING_BACK,
        S.REGRESSED: P.ROLLING_BACK,
        S.RETAINED: P.COMPLETED,
    },
    # The teacher is scaled down by now: only a person sends traffic back to it.
    P.COMPLETED: _DELETED | {S.ABORTED: P.ROLLING_BACK, S.CHANGED: P.ROLLING_BACK},
    P.ROLLING_BACK: _DELETED | {S.RENEWED: P.PREPARING, S.RETURNED: P.ROLLED_BACK},
    P.ROLLED_BACK: _DELETED | {S.CHANGED: P.PREPARING, S.RETRIED: P.PREPARING},
    P.FAILED: _DELETED | {S.REPAIRED: P.PENDING},
    P.DELETING: {},
}

if TABLE.keys() != set(Phase):
    raise AssertionError("every phase must have its row")

SERVING: Final = frozenset({P.PROGRESSING, P.PAUSED, P.PROMOTING, P.PROMOTED, P.COMPLETED})
"""Phases in which the student is meant to have traffic."""
RESTING: Final = frozenset({P.COMPLETED, P.ROLLED_BACK, P.FAILED})
"""Phases that only a person ends."""
MEASURED: Final = SERVING - {P.COMPLETED}
"""Phases in which the student is judged."""
NEW_STEP: Final = frozenset({S.OVERRIDDEN, S.STEP_DONE})
"""Signals that lead to the next step; no other one does."""
KEEPS_SOAK: Final = frozenset({S.HELD, S.RESUMED})
"""Signals after which the same step goes on."""


def first(phase: Phase, signals: Collection[Signal]) -> Signal | None:
    """Return the signal that counts in a phase; None: the rollout stays where it is."""
    return next((s for s in Signal if s in signals and s in TABLE[phase]), None)


def reason(signal: str) -> RolloutReason:
    """Return the contract's word for a signal by its name; Waiting before there was any."""
    return RolloutReason[signal] if signal else RolloutReason.WAITING
