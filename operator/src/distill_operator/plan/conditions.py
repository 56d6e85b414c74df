"""Conditions: the truth about a job, in the words of the API conventions and of kstatus."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from distill_api.names import ConditionType, Reason
from distill_api.status import Condition, JobStatus

from distill_operator.plan import text

type Value = Literal["True", "False", "Unknown"]


class Standing(StrEnum):
    """How a job stands as a whole."""

    GOING = "Going"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    INVALID = "Invalid"


COLUMNS: Final = (
    ConditionType.SUCCEEDED,
    ConditionType.READY,
    ConditionType.RECONCILING,
    ConditionType.STALLED,
    ConditionType.SUSPENDED,
)
TABLE: Final[Mapping[Standing, tuple[Value, Value, Value, Value, Value]]] = {
    Standing.GOING: ("Unknown", "False", "True", "False", "False"),
    Standing.SUSPENDED: ("Unknown", "False", "False", "False", "True"),
    Standing.SUCCEEDED: ("True", "True", "False", "False", "False"),
    # Stalled is what tells kstatus, and so Flux and helm --wait, that waiting is in vain.
    Standing.FAILED: ("False", "False", "False", "True", "False"),
    Standing.INVALID: ("Unknown", "False", "False", "True", "False"),
}
_QUIET: Final[Mapping[ConditionType, str]] = {
    ConditionType.RECONCILING: "Nothing is under way.",
    ConditionType.STALLED: "Nothing keeps the job from going on.",
    ConditionType.SUSPENDED: "spec.suspend is false.",
}
"""What an abnormal condition says while it is false."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a condition should say."""

    type: ConditionType
    status: Value
    reason: Reason
    message: str


def of_standing(standing: Standing, reason: Reason, message: str) -> list[Claim]:
    """Return what every condition but Scheduled says."""
    values = zip(COLUMNS, TABLE[standing], strict=True)
    return [_claim(kind, value, reason, message) for kind, value in values]


def _claim(kind: ConditionType, value: Value, reason: Reason, message: str) -> Claim:
    if value == "False" and kind in _QUIET:
        return Claim(kind, value, Reason.ACCEPTED, _QUIET[kind])
    return Claim(kind, value, reason, message)


def updated(
    before: Sequence[Condition], claims: Sequence[Claim], generation: int, *, now: datetime
) -> list[Condition]:
    """Return the conditions for status; the time moves only where the value does."""
    old = {condition.type: condition for condition in before}
    return [_updated(old.get(claim.type), claim, generation, now) for claim in claims]


def _updated(before: Condition | None, claim: Claim, generation: int, now: datetime) -> Condition:
    moved = before is None or before.status != claim.status
    return Condition(
        type=claim.type,
        status=claim.status,
        observed_generation=generation,
        last_transition_time=now if before is None or moved else before.last_transition_time,
        reason=claim.reason,
        message=text.cut(claim.message),
    )


def at_generation(before: Sequence[Condition], generation: int) -> list[Condition]:
    """Return the conditions as they were, seen to hold for this generation too."""
    return [c.model_copy(update={"observed_generation": generation}) for c in before]


def find(status: JobStatus, kind: ConditionType) -> Condition | None:
    """Return a condition by its type."""
    return next((c for c in status.conditions if c.type is kind), None)


def finished(status: JobStatus) -> bool:
    """Tell whether a job has ended, well or badly."""
    found = find(status, ConditionType.SUCCEEDED)
    return found is not None and found.status != "Unknown"
