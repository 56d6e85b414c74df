"""What a rollout is asked to do, with presets resolved and times as times."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from distill_api.rollout_metrics import OnRegression
from distill_api.rollout_policies import Action, ForeignWeights

from distill_operator.plan.rollout.model import WHOLE
from distill_operator.statistics import quality, rate, saving


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that is measured, with its test and its part of alpha and beta, or as a sum."""

    rule: rate.Rule | quality.Rule | saving.Rule
    on_regression: OnRegression = OnRegression.ROLLBACK
    per_step: bool = False
    """Evidence begins anew at each step: latency depends on the load."""

    @property
    def moves(self) -> bool:
        """Whether traffic depends on it at all."""
        return self.rule.critical or self.on_regression is not OnRegression.WARN

    @property
    def name(self) -> str:
        """The metric's name in the spec."""
        return self.rule.metric


MOST_FIGHTS: Final = 3
"""Foreign weights written over in one step; then a person has to decide."""


@dataclass(frozen=True, slots=True)
class Step:
    """A share of the traffic, and what has to be seen at it."""

    weight: int
    """Percent."""
    soak: timedelta
    requests: int = 0
    """Fewest requests of the student in this step."""
    manual: bool = False
    """A person approves before the next step."""


@dataclass(frozen=True, slots=True)
class Commands:
    """What a person asks for now."""

    paused: bool = False
    abort: bool = False
    promote: str | None = None
    """Names the step that may pass, by its number from 1, or `Full` for all of them."""
    retry: str | None = None
    """Another value than last time starts a rolled-back rollout again."""
    finalize: bool = False
    """End the time that the teacher is kept."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How traffic moves."""

    steps: tuple[Step, ...]
    metrics: tuple[Metric, ...] = ()
    warm_requests: int = 0
    warm_seconds: float = 0
    """What a container does before it has seen so much is set aside."""
    commands: Commands = Commands()
    max_soak: timedelta = timedelta(hours=24)
    """In one step; then the undecided policy counts."""
    progress_deadline: timedelta = timedelta(minutes=15)
    """For the arms to become ready, and for each weight to be verified."""
    min_ready: timedelta = timedelta(seconds=10)
    crash_grace: timedelta = timedelta(seconds=60)
    no_data: Action = Action.HOLD
    no_data_after: timedelta = timedelta(minutes=30)
    undecided: Action = Action.HOLD
    foreign: ForeignWeights = ForeignWeights.ENFORCE
    retention: timedelta = timedelta(hours=48)
    floor: int = 1
    """Of the teacher's weight, per mille, until it is let go."""
    owns_route: bool = True
    hands_back: bool = False
    """Deleting a promoted rollout sends the traffic back to the teacher."""

    def share(self, step: int) -> int:
        """Return the student's weight of a step, per mille; the last one leaves the floor."""
        wanted = self.steps[min(step, len(self.steps) - 1)].weight * WHOLE // 100
        return min(wanted, WHOLE - self.floor)
