"""The status of a DistilledModelRollout: what was observed and decided, and why."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, JsonValue

from distill_api.base import BigCount, Model, NonNegativeInt, Sentence, ShortText, Uri, listed_by
from distill_api.names import RolloutConditionType, RolloutPhase, RolloutReason, RolloutVerdict
from distill_api.status import ChecklistItem, ConditionShape, Digest, Number

PerMille = Annotated[int, Field(ge=0, le=1000)]
"""A share of the traffic in thousandths."""


class RolloutCondition(ConditionShape):
    """A condition of the standard shape."""

    type: RolloutConditionType
    """Which condition."""
    reason: RolloutReason
    """One word for programs."""


class Transition(Model):
    """The last change of phase or step."""

    id: BigCount
    """Counts up with each; written before anything is done for it."""
    from_: Annotated[RolloutPhase, Field(alias="from")]
    """Phase before."""
    to: RolloutPhase
    """Phase since."""
    at: datetime
    """When it was decided."""
    reason: RolloutReason
    """One word for programs."""
    message: Sentence
    """What was seen, with numbers."""


class Weight(Model):
    """The student's share of the traffic."""

    desired: PerMille
    """Decided last, in thousandths."""
    observed: PerMille | None = None
    """What the route has, in thousandths."""
    verified: bool
    """Every gateway carries the desired weight and both sides that get traffic are ready."""
    measured_share: Number | None = None
    """Share of the requests that reached the student since the weight was confirmed, 0 to 1."""
    student_requests: BigCount | None = None
    """Requests of the student behind that share."""
    teacher_requests: BigCount | None = None
    """Requests of the teacher behind that share."""


class StepStatus(Model):
    """How far the present step is."""

    index: NonNegativeInt
    """Its number, counted from 1."""
    of: NonNegativeInt
    """Number of steps."""
    weight: Annotated[int, Field(ge=0, le=100)]
    """The student's share in percent that the step asks for."""
    soak_seconds: NonNegativeInt
    """Seconds in which the weight was verified."""
    min_soak_seconds: NonNegativeInt
    """Seconds that the step asks for."""
    requests: BigCount
    """Requests of the student in this step."""
    min_requests: BigCount
    """Requests that the step asks for."""
    lacks: Sentence | None = None
    """What is still missing before the next step, in a sentence."""


class Counted(Model):
    """What was counted of one arm, and what it makes probable."""

    count: BigCount
    """Requests, or pairs of scores."""
    events: BigCount | None = None
    """Of these requests: failed, slow, or whatever the metric counts."""
    estimate: Number | None = None
    """Share of such requests, ratio of the scores, or share of the teacher's cost that is saved."""
    lower: Number | None = None
    """Lower end of its confidence sequence."""
    upper: Number | None = None
    """Upper end of its confidence sequence."""
    score: Number | None = None
    """Mean of the scores, for quality."""


class SequentialTest(Model):
    """Where the sequential test stands: beyond upper the student is rolled back."""

    llr: Number
    """Log-likelihood ratio of a rate, or log-wealth of the bet that quality fell."""
    upper: Number
    """From here on the metric is Regressed."""
    lower: Number | None = None
    """Down to here the metric is Healthy; for quality see proof."""
    proof: Number | None = None
    """Log-wealth of the bet that quality holds."""
    proof_bound: Number | None = None
    """From here on quality is Healthy."""
    design_effect: Number | None = None
    """What the ratio was divided by, as failures come in bursts."""


class MetricStatus(Model):
    """What is known of one metric."""

    name: Annotated[str, Field(max_length=40)]
    """Its name in the spec."""
    verdict: RolloutVerdict
    """What is known."""
    message: Sentence
    """The counts, the interval, the limit and what follows, in words."""
    critical: bool
    """Whether promotion waits for it."""
    warning: bool | None = None
    """True when it is worth a warning."""
    exhausted: bool | None = None
    """True when enough was seen to decide in nearly all cases and it is still open: the truth lies
    between fine and limit, and a person has to decide."""
    fine: Number | None = None
    """Up to this rate, or from this ratio or saving on, the student is healthy."""
    limit: Number | None = None
    """From this rate, down to this ratio, or below this saving, it is rolled back."""
    reference: Number | None = None
    """The score that fine and limit are shares of, where it is not the teacher's."""
    student: Counted | None = None
    """Counts of the student."""
    teacher: Counted | None = None
    """Counts of the teacher."""
    test: SequentialTest | None = None
    """Where the sequential test stands."""
    predicted_requests: BigCount | None = None
    """Requests of the student, or pairs, after which a decision is expected."""
    predicted_seconds: NonNegativeInt | None = None
    """Seconds after which it is expected at the present rate of requests."""


class ArmStatus(Model):
    """What serves on one side."""

    ready: NonNegativeInt
    """Endpoints that take requests."""
    wanted: NonNegativeInt | None = None
    """Pods that there should be; unknown for a Service that somebody else runs."""
    endpoint: ShortText | None = None
    """Service and port that the route sends to."""
    revision: ShortText | None = None
    """Digest of what its pods were made from."""
    model: Uri | None = None
    """What it serves."""
    message: Sentence | None = None
    """Why it is not ready."""


class Arms(Model):
    """Both sides."""

    teacher: ArmStatus | None = None
    """The teacher."""
    student: ArmStatus | None = None
    """The student."""


class ResolvedArtifact(Model):
    """The student that is rolled out, as it was found."""

    uri: Uri
    """Where it is."""
    digest: Digest
    """Its digest."""


class Decision(Model):
    """Something that was decided before."""

    id: BigCount
    """The transition's id."""
    at: datetime
    """When."""
    from_: Annotated[RolloutPhase, Field(alias="from")]
    """Phase before."""
    to: RolloutPhase
    """Phase after."""
    step: NonNegativeInt
    """Number of the step after it, counted from 1."""
    weight: PerMille
    """The student's share after it, in thousandths."""
    reason: RolloutReason
    """One word for programs."""
    message: Sentence
    """Why, with numbers."""


class Retention(Model):
    """The time for which the teacher is kept after promotion."""

    seconds: NonNegativeInt
    """Seconds that were watched so far."""
    wanted_seconds: NonNegativeInt
    """Seconds that it is kept for."""
    until: datetime | None = None
    """When it ends, if nothing interrupts it."""


class Savings(Model):
    """What the student saves against its teacher, at the prices of the spec."""

    currency: Annotated[str, Field(max_length=3, pattern=r"^[A-Z]{3}$")]
    """ISO 4217 code."""
    teacher_million_requests: Number
    """What a million requests cost with the teacher."""
    student_million_requests: Number
    """What a million requests cost with the student."""
    share: Number
    """Share of the cost that is saved, 0 to 1."""
    per_day: Number | None = None
    """Saved in a day at the present or the given number of requests."""
    break_even_days: Number | None = None
    """Days after which what the job cost is saved."""


class RolloutColumns(Model):
    """Texts for the printer columns; programs read the fields they are made from."""

    step: ShortText | None = None
    """Number of the step, and of all."""
    weight: ShortText | None = None
    """The student's share as decided."""
    share: ShortText | None = None
    """The student's share as measured."""
    verdict: ShortText | None = None
    """The verdict of all metrics."""
    decision: ShortText | None = None
    """Time to the next decision."""


class RolloutStatus(Model):
    """What is known of the rollout."""

    observed_generation: NonNegativeInt = 0
    """Generation of the spec that this status is about."""
    phase: RolloutPhase = RolloutPhase.PENDING
    """Where the rollout stands."""
    message: Annotated[str, Field(max_length=4096)] | None = None
    """Where it stands, why, and what it waits for, in a sentence."""
    columns: RolloutColumns | None = None
    """Texts for the printer columns."""
    conditions: Annotated[
        list[RolloutCondition],
        Field(
            max_length=16,
            json_schema_extra=listed_by("type"),
        ),
    ] = []
    """The truth about the rollout."""
    transition: Transition | None = None
    """The last change of phase or step."""
    step: StepStatus | None = None
    """The present step."""
    weight: Weight | None = None
    """The student's share of the traffic."""
    verdict: RolloutVerdict | None = None
    """What all metrics that move traffic say together."""
    metrics: Annotated[
        list[MetricStatus],
        Field(
            max_length=16,
            json_schema_extra=listed_by("name"),
        ),
    ] = []
    """What is known of each metric."""
    arms: Arms | None = None
    """What serves on both sides."""
    artifact: ResolvedArtifact | None = None
    """The student that is rolled out."""
    revision: ShortText | None = None
    """Digest of student and teacher as they serve; another one begins anew."""
    epoch: NonNegativeInt | None = None
    """Counts up each time that evidence begins anew."""
    retention: Retention | None = None
    """The time for which the teacher is kept after promotion."""
    savings: Savings | None = None
    """What the student saves."""
    checklist: Annotated[list[ChecklistItem], Field(max_length=64)] = []
    """The production checklist, as far as a rollout can prove it, with the go/no-go criteria."""
    history: Annotated[list[Decision], Field(max_length=20)] = []
    """The last decisions, oldest first."""
    start_time: datetime | None = None
    """When the first traffic went to the student."""
    completion_time: datetime | None = None
    """When the rollout came to rest, well or badly."""
    record: Annotated[
        dict[str, JsonValue] | None,
        Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}),
    ] = None
    """The operator's own memory: counters, clocks and the state of each test, from which it goes on
    after a restart. Not an interface: its members change from release to release."""
