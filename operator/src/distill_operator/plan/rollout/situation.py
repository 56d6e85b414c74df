"""Where a rollout stands in this pass: what it remembers, what it is asked, what it sees."""

from dataclasses import dataclass, field

from distill_api.rollout_policies import ForeignWeights

from distill_operator.plan.rollout import targets, traffic
from distill_operator.plan.rollout.judgement import Judgement
from distill_operator.plan.rollout.memory import Memory
from distill_operator.plan.rollout.model import WHOLE, ObservedArtifact, Refusals
from distill_operator.plan.rollout.phases import Phase
from distill_operator.plan.rollout.policy import MOST_FIGHTS, Policy
from distill_operator.plan.rollout.readiness import ArmSight
from distill_operator.plan.rollout.tokens import Fidelity, TokenSight
from distill_operator.plan.rollout.traffic import RouteSight


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that signals are read from."""

    memory: Memory
    policy: Policy
    route: RouteSight
    student: ArmSight
    teacher: ArmSight
    judgement: Judgement
    artifact: ObservedArtifact = field(default_factory=ObservedArtifact)
    revision: str | None = None
    """Of what the spec asks for now; None while the artifact is not known."""
    generation: int = 1
    deleting: bool = False
    rival: str | None = None
    """An older rollout on the same rule."""
    mismatch: str | None = None
    """The measured split is not the configured one, as a sentence."""
    refused: Refusals = field(default_factory=Refusals)
    tokens: TokenSight = field(default_factory=lambda: TokenSight(Fidelity.UNCHECKED, ""))
    """Whether the student's pods read texts as the student did in training."""
    unroutable: str | None = None
    """Why no route can be seen: nothing that is missing proves anything then."""

    @property
    def phase(self) -> Phase:
        """Where the rollout stood before this pass."""
        return self.memory.phase

    @property
    def foreign(self) -> bool:
        """Somebody else's weight is on the route."""
        return traffic.foreign(self.route, self.memory.weights)

    @property
    def conflict(self) -> bool:
        """A foreign weight that is left as it is until a person decides."""
        if not self.foreign:
            return False
        return self.policy.foreign is ForeignWeights.YIELD or self.memory.fights >= MOST_FIGHTS

    @property
    def verified(self) -> bool:
        """The weight that the phase asks for is carried, and each side with traffic answers."""
        weight = self.memory.weights.desired
        return (
            self.route.carried
            and weight == self.target
            and self.route.share == weight
            and (self.student.ready > 0 or weight == 0)
            and (self.teacher.ready > 0 or weight >= WHOLE)
            and self.mismatch is None
        )

    @property
    def target(self) -> int:
        """The weight that the phase asks for, whatever the arms can bear."""
        wanted = targets.target(self.memory, self.policy)
        return self.memory.weights.desired if wanted is None else wanted

    @property
    def last_step(self) -> bool:
        """No step follows the present one."""
        return self.memory.step >= len(self.policy.steps) - 1

    @property
    def approved(self) -> bool:
        """A person let the present step pass, or all of them.

        A value that was there before a retry approves nothing of the new try.
        """
        promote = self.policy.commands.promote
        if promote is not None and promote == self.memory.tokens.promote:
            return False
        return promote in (FULL, str(self.memory.step + 1))


FULL = "Full"
"""The value of spec.promote that lets every step pass as soon as its weight is verified."""
