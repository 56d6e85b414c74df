"""Which stage follows which, and how what is seen of a stage becomes its state: two tables."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from distill_api.job import DistillationJobSpec
from distill_api.names import Stage, StageState


def _always(_: DistillationJobSpec) -> bool:
    return True


def _quantized(spec: DistillationJobSpec) -> bool:
    return spec.quantize is not None


def _exported(spec: DistillationJobSpec) -> bool:
    return spec.export is not None


def _engine(spec: DistillationJobSpec) -> bool:
    return spec.export is not None and spec.export.tensor_rt is not None


ORDER: Final[Mapping[Stage, Callable[[DistillationJobSpec], bool]]] = {
    Stage.LABEL: _always,
    Stage.PREPARE: _always,
    Stage.TRAIN: _always,
    Stage.QUANTIZE: _quantized,
    Stage.EXPORT: _exported,
    Stage.ENGINE: _engine,
    Stage.EVALUATE: _always,
    Stage.PUBLISH: _always,
}
"""Each stage starts when the one before is complete; a stage that is not wanted is left out.
Cleanup stands outside: it runs while the object is deleted, and only then."""

if ORDER.keys() | {Stage.CLEANUP} != set(Stage):
    raise AssertionError("every stage must have its place in ORDER")


def patience(spec: DistillationJobSpec, stage: Stage) -> timedelta | None:
    """Return how long a pod may wait before its stage is left out; None where it never is."""
    asked = spec.export.tensor_rt if spec.export is not None else None
    if stage is not Stage.ENGINE or asked is None:
        return None
    return timedelta(seconds=asked.wait_seconds)


def wanted(spec: DistillationJobSpec) -> tuple[Stage, ...]:
    """Return the stages of a job, in their order."""
    return tuple(stage for stage, asked in ORDER.items() if asked(spec))


class Sight(StrEnum):
    """What is seen of a stage in one pass."""

    ABSENT = "no Job yet"
    BLOCKED = "pods of another Job still run"
    GONE = "its Job is being deleted"
    QUEUED = "its Job waits for Kueue"
    WAITING = "its pod does not run yet"
    RUNNING = "its pod runs"
    TRIES_AGAIN = "a pod failed, another one follows"
    HELD = "spec.suspend is true"
    UNREPORTED = "its Job ended, its report is not seen yet"
    LOST = "its Job ended, its report is gone"
    REPLACED = "its settings changed before its pod ran"
    DONE = "its report says Done"
    BROKEN = "its Job failed for good"
    RESTARTED = "it failed and its settings changed"
    GIVEN_UP = "its pod waited as long as it may, and it can be left out"


@dataclass(frozen=True, slots=True)
class Move:
    """Where a sight brings a stage."""

    to: StageState | None
    """None leaves the state as it was."""
    next_attempt: bool = False
    """A new Job is made under the next attempt's name."""
    creates: bool = False
    """The Job of the attempt is made, unless it is there."""


MOVES: Final[Mapping[Sight, Move]] = {
    Sight.ABSENT: Move(StageState.PENDING, creates=True),
    Sight.BLOCKED: Move(StageState.PENDING),
    Sight.GONE: Move(StageState.PENDING),
    Sight.QUEUED: Move(StageState.PENDING),
    Sight.WAITING: Move(StageState.PENDING),
    Sight.RUNNING: Move(StageState.RUNNING),
    Sight.TRIES_AGAIN: Move(StageState.RETRYING),
    Sight.HELD: Move(StageState.SUSPENDED),
    Sight.UNREPORTED: Move(None),
    Sight.LOST: Move(StageState.RETRYING, next_attempt=True, creates=True),
    Sight.REPLACED: Move(StageState.PENDING, next_attempt=True),
    Sight.DONE: Move(StageState.COMPLETE),
    Sight.BROKEN: Move(StageState.FAILED),
    Sight.GIVEN_UP: Move(StageState.SKIPPED),
    Sight.RESTARTED: Move(StageState.PENDING, next_attempt=True, creates=True),
}

if MOVES.keys() != set(Sight):
    raise AssertionError("every sight must have its move")

PASSED: Final = (StageState.COMPLETE, StageState.SKIPPED)
"""States of a stage that never runs again."""
UNFINISHED: Final = (
    StageState.PENDING,
    StageState.RUNNING,
    StageState.RETRYING,
    StageState.SUSPENDED,
)


def sources(sight: Sight) -> tuple[StageState, ...]:
    """Return the states in which a sight counts.

    A complete stage is never looked at again, and a failed one leaves its state only when the
    settings that it failed with have changed.
    """
    return (StageState.FAILED,) if sight is Sight.RESTARTED else UNFINISHED


def after(sight: Sight, before: StageState) -> StageState:
    """Return the state of a stage after it was seen so."""
    return MOVES[sight].to or before
