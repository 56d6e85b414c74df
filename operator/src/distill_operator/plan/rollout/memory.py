"""What a rollout remembers from pass to pass: all of it lies in status, none in the operator."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from distill_operator.plan.rollout.phases import Phase

LONGEST_HISTORY: Final = 20


@dataclass(frozen=True, slots=True)
class Transition:
    """The last change of phase or step, numbered so that nothing is done for it twice."""

    id: int = 0
    before: Phase = Phase.PENDING
    after: Phase = Phase.PENDING
    at: datetime | None = None
    signal: str = ""
    """Name of the Signal."""
    why: str = ""
    """What was seen, as a sentence."""
    step: int = 0
    """The step that it led to, from 0."""
    weight: int = 0
    """The student's weight that was decided with it, per mille."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The student's share of the traffic, per mille."""

    desired: int = 0
    """Decided last, and written to status before it is written to the route."""
    previous: int | None = None
    """What the route had by then: finding it still there is our unfinished write, nobody's edit."""
    confirmed: bool = False
    """`desired` was seen on the route since: from now on another number is somebody else's."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Seconds that were lived through, each added look by look.

    A look adds the time since the last one, but never more than a bound: neither an operator that
    was down nor a clock that jumped makes a soak longer than what was watched.
    """

    looked_at: datetime | None = None
    verified: bool = False
    """Whether the last look found the weight verified: only time between two such looks counts."""
    soak: float = 0
    """In this step, verified."""
    ready: float = 0
    """The student ready without a break; both arms, while preparing."""
    down: float = 0
    """The student without a ready endpoint; time with one pays it back second by second, so that
    a student that flaps is found out."""
    outage: float = 0
    """A critical metric without numbers."""
    stalled: float = 0
    """The weight asked for but not verified, in this step; flapping does not reset it."""
    carried: float = 0
    """The gateways with the weight that is desired now."""
    weighed: float = 0
    """Since the weight that is desired now was decided."""
    retained: float = 0
    """The student promoted and the teacher kept, verified."""
    watched: float = 0
    """The student with its share of the traffic, verified, in this epoch."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Values of the spec's commands that were acted on: each acts once."""

    retry: str | None = None
    promote: str | None = None
    """One of before a retry, which approves nothing of the new try."""
    generation: int = 0
    """Of the spec in the last pass: a new one is a person's answer to a conflict."""


@dataclass(frozen=True, slots=True)
class Split:
    """Requests that each arm took since the weight was confirmed."""

    teacher: int = 0
    student: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """Everything that a rollout knows about its own past."""

    transition: Transition = Transition()
    step: int = 0
    weights: Weights = Weights()
    clocks: Clocks = Clocks()
    revision: str | None = None
    """Of student and teacher as they serve."""
    epoch: int = 0
    """Counts up where evidence begins anew."""
    began: datetime | None = None
    """When this epoch did: what was counted before is not about it."""
    fights: int = 0
    """Times that a foreign weight was written over, since the last transition."""
    tokens: Tokens = Tokens()
    split: Split = Split()
    step_requests: int = 0
    """Requests that the student took in this step."""
    history: tuple[Transition, ...] = ()
    """The latest transitions, oldest first."""

    @property
    def phase(self) -> Phase:
        """Where the rollout stands."""
        return self.transition.after
