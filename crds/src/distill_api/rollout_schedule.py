"""The steps in which a rollout moves traffic, and its times."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, JsonValue

from distill_api.base import Model, listed_by, rule, rules

Seconds = Annotated[int, Field(ge=0, le=31_536_000)]
"""A time of at most a year."""

_HOUR: Final = 3600
_DAY: Final = 24 * _HOUR


class Step(Model):
    """A share of the traffic, and what has to be seen at it before the next one."""

    weight: Annotated[int, Field(ge=1, le=100)]
    """The student's share of the requests, in percent."""
    min_soak_seconds: Seconds = 900
    """Shortest time at this weight, in seconds. Only time counts in which the weight was verified
    on the gateway and both arms were ready."""
    min_requests: Annotated[int, Field(ge=0, le=1_000_000_000)] = 350
    """Fewest requests of the student at this weight. By then the default errors metric has found
    a student of which 5 % of the requests fail, five times its limit, in 95 of 100 cases."""
    manual: bool = False
    """Wait for a person after this step: the next one begins when `spec.promote` names it."""


class Preset(StrEnum):
    """A ready-made schedule."""

    TWENTY_FOUR_HOURS = "TwentyFourHours"
    THIRTY_DAYS = "ThirtyDays"


def _plan(*soaks: tuple[int, int]) -> tuple[Step, ...]:
    return tuple(Step(weight=weight, min_soak_seconds=seconds) for weight, seconds in soaks)


PRESETS: Final[Mapping[Preset, tuple[Step, ...]]] = {
    # The guide's canary_schedule: 5 % at hour 0, 10 % at 2, 25 % at 6, 50 % at 12, 100 % at 24.
    Preset.TWENTY_FOUR_HOURS: _plan(
        (5, 2 * _HOUR), (10, 4 * _HOUR), (25, 6 * _HOUR), (50, 12 * _HOUR), (100, 900)
    ),
    # The guide's post-launch plan: days 1, 2 and 3, 4 to 7, 8 to 14 (75-90 %), 15 to 30.
    Preset.THIRTY_DAYS: _plan(
        (5, _DAY),
        (10, _DAY),
        (25, _DAY),
        (50, 4 * _DAY),
        (75, 4 * _DAY),
        (90, 3 * _DAY),
        (100, 16 * _DAY),
    ),
}
"""What each preset stands for."""

_RISING: Final[dict[str, JsonValue]] = {
    **listed_by("weight"),
    "x-kubernetes-validations": [
        rule(
            "self.map(s, s.weight).isSorted()",
            "the weights of schedule.steps must rise: sort the steps, or remove the one that falls",
        ),
        rule(
            "self[size(self) - 1].weight == 100",
            "the last of schedule.steps must have weight 100, as a student that is not promoted"
            " saves nothing: add a step of 100",
        ),
    ],
}


class Schedule(Model):
    """How fast traffic moves."""

    model_config = rules(
        rule(
            "has(self.preset) != has(self.steps)",
            "schedule needs exactly one of preset (TwentyFourHours or ThirtyDays) and steps (your"
            " own)",
        ),
        rule(
            "!has(self.steps) || !has(self.maxSoakSeconds)"
            " || self.steps.all(s, s.minSoakSeconds <= self.maxSoakSeconds)",
            "schedule.maxSoakSeconds must not be below minSoakSeconds of any step: raise it, or"
            " remove it",
            at=".maxSoakSeconds",
        ),
        rule(
            "!has(self.preset) || !has(self.maxSoakSeconds) || self.maxSoakSeconds >="
            f" (self.preset == 'ThirtyDays' ? {16 * _DAY} : {12 * _HOUR})",
            "schedule.maxSoakSeconds must not be below the longest step of the preset, which is"
            " 43200 for TwentyFourHours and 1382400 for ThirtyDays: raise it, or remove it",
            at=".maxSoakSeconds",
        ),
    )

    preset: Preset | None = None
    """TwentyFourHours: 5 % for 2 hours, 10 % for 4, 25 % for 6, 50 % for 12, then 100 %.
    ThirtyDays: 5, 10 and 25 % for a day each, 50 % for 4 days, 75 % for 4, 90 % for 3, 100 % for
    16."""
    steps: (
        Annotated[list[Step], Field(min_length=1, max_length=32, json_schema_extra=_RISING)] | None
    ) = None
    """Your own steps, with rising weights up to 100."""
    max_soak_seconds: Seconds | None = None
    """Longest time of one step that is neither healthy nor regressed; then `policies.undecided`
    counts. A day more than the longest minSoakSeconds by default."""
    progress_deadline_seconds: Annotated[int, Field(ge=10, le=604_800)] = 900
    """Longest time until both arms are ready, and until each weight is verified, in seconds; then
    the rollout goes back. A pod that flaps does not prolong it."""
    min_ready_seconds: Annotated[int, Field(ge=0, le=3600)] = 10
    """Seconds for which an arm has to be ready without a break before it gets traffic."""
    crash_loop_grace_seconds: Annotated[int, Field(ge=0, le=3600)] = 60
    """Seconds that the student may be without a ready pod before the rollout goes back. Its weight
    is 0 at once; a container that ends again and again is not waited for."""

    def resolved(self) -> tuple[Step, ...]:
        """Return the steps, those of the preset where there is one."""
        if self.preset is not None:
            return PRESETS[self.preset]
        return tuple(self.steps or ())

    def longest_soak(self) -> int:
        """Return the seconds after which a step that is still open counts as undecided."""
        if self.max_soak_seconds is not None:
            return self.max_soak_seconds
        return max((step.min_soak_seconds for step in self.resolved()), default=0) + _DAY
