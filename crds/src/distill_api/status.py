"""The status of a DistillationJob: a report on what was observed, never a promise."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from distill_api.base import BigCount, Model, NonNegativeInt, Sentence, ShortText, Uri, listed_by
from distill_api.names import DIGEST, ConditionType, Reason, Stage, StageState

Number = Annotated[str, Field(max_length=32, pattern=r"^-?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?$")]
"""A number as text, so that no client rounds it."""
Digest = Annotated[str, Field(max_length=71, pattern=f"^{DIGEST}$")]


class ConditionShape(Model):
    """What conditions of every kind have in common."""

    status: Literal["True", "False", "Unknown"]
    """Its value."""
    observed_generation: NonNegativeInt
    """Generation of the spec that it was derived from."""
    last_transition_time: datetime
    """When status last changed."""
    message: Annotated[str, Field(max_length=4096)]
    """A sentence for people: what happened and what to do."""


class Condition(ConditionShape):
    """A condition of the standard shape."""

    type: ConditionType
    """Which condition."""
    reason: Reason
    """One word for programs."""


class Metric(Model):
    """One number that a stage reports while it runs."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    """Its name, for example `loss`."""
    value: Annotated[str, Field(min_length=1, max_length=64)]
    """Its value as text."""


class StageProgress(Model):
    """How far a running stage is."""

    percent: Annotated[int, Field(ge=0, le=100)]
    """Share that is done."""
    remaining_seconds: NonNegativeInt | None = None
    """Estimate of the time that is left."""
    metrics: Annotated[list[Metric], Field(max_length=32)] = []
    """Numbers such as step, loss, examplesPerSecond."""
    updated_time: datetime
    """When the pod said so."""


class Usage(Model):
    """What a stage used up, over all its attempts that reported."""

    seconds: Number | None = None
    """Time from start to end of the work."""
    cpu_seconds: Number | None = None
    """Processor time."""
    gpu_seconds: Number | None = None
    """Accelerators times seconds."""
    teacher_tokens: BigCount | None = None
    """Tokens read or written by the teacher."""


class StageStatus(Model):
    """Where one stage stands."""

    name: Stage
    """Which stage."""
    state: StageState
    """Where it stands."""
    attempt: NonNegativeInt = 0
    """Jobs made for it so far, less one."""
    job_name: Annotated[str, Field(max_length=253)] | None = None
    """The batch/v1 Job of the present attempt."""
    start_time: datetime | None = None
    """When its first pod was made."""
    completion_time: datetime | None = None
    """When it was complete."""
    fingerprint: Annotated[str, Field(max_length=80)] | None = None
    """Digest of everything that its result depends on."""
    reused: bool | None = None
    """True when a complete result with this fingerprint was found and used."""
    summary: Sentence | None = None
    """What came out, in a sentence."""
    progress: StageProgress | None = None
    """How far it is."""
    usage: Usage | None = None
    """What it used up."""
    failures: NonNegativeInt | None = None
    """Pods that failed; of several pods, times that they failed together."""
    message: Sentence | None = None
    """Why it waits, tries again or failed."""


class Score(Model):
    """One measure of quality for student and teacher."""

    measure: Annotated[str, Field(max_length=64)]
    """Name in the notation of ir-measures."""
    student: Number
    """The student's score."""
    teacher: Number
    """The teacher's score."""
    retention: Number
    """Student divided by teacher."""
    retention_low: Number
    """Lower end of the bootstrap interval."""
    retention_high: Number
    """Upper end of the bootstrap interval."""


class Speed(Model):
    """How fast a model is on the evaluate stage's hardware."""

    p50_milliseconds: Number
    """Median latency of a single request."""
    p95_milliseconds: Number
    """95th percentile."""
    p99_milliseconds: Number
    """99th percentile."""
    items_per_second: Number
    """Documents per second in batches."""


class Percentiles(Model):
    """Of a time."""

    p50_milliseconds: Number
    """Median."""
    p95_milliseconds: Number
    """95th percentile."""
    p99_milliseconds: Number
    """99th percentile."""


class ServedTokens(Model):
    """What a server wrote under the load."""

    output_tokens: BigCount
    """Tokens of all answers, ends included."""
    tokens_per_second: Number
    """Of these in a second."""
    time_to_first_token: Percentiles
    """From when a request was to be sent; a failure counts as one of the timeout."""
    time_per_output_token: Percentiles | None = None
    """Mean time between the tokens of an answer; a failure counts as one of the timeout. Answers of
    a single token have none."""


class ServedLoad(Model):
    """How a server bore the load."""

    requests: BigCount
    """Requests that arrived."""
    failures: BigCount
    """Of these: refused, wrong or later than the timeout; each counts as one of the timeout."""
    p50_milliseconds: Number
    """Median latency, from when a request was to be sent."""
    p95_milliseconds: Number
    """95th percentile."""
    p99_milliseconds: Number
    """99th percentile."""
    requests_per_second: Number
    """Requests answered in a second."""
    peak_memory_bytes: BigCount
    """Resident memory of the server's process at its peak; of vLLM the sum over its processes."""
    tokens: ServedTokens | None = None
    """Of a server that writes."""


class BenchmarkStatus(Model):
    """Student and teacher as they are served, under the stated load."""

    requests_per_second: Number
    """Arrival rate that was asked for."""
    student: ServedLoad
    """The student's server."""
    teacher: ServedLoad | None = None
    """The teacher's server."""
    remark: Sentence | None = None
    """Why there is no teacher."""


class EvaluationStatus(Model):
    """The student against its teacher."""

    verdict: Literal["Passed", "Missed"]
    """Whether every gate held."""
    explanation: Sentence
    """Which gates held and which did not, with numbers."""
    scores: Annotated[list[Score], Field(max_length=16)]
    """Quality."""
    student: Speed
    """The student's speed."""
    teacher: Speed
    """The teacher's speed."""
    speedup: Number
    """Student's items per second divided by the teacher's."""
    student_parameters: BigCount
    """Weights of the student."""
    teacher_parameters: BigCount
    """Weights of the teacher; 0 when it is behind an endpoint."""
    queries: BigCount
    """Queries of the test split."""
    documents: BigCount
    """Documents that were searched."""
    benchmark: BenchmarkStatus | None = None
    """What is served, under the load of spec.evaluation.benchmark."""


class SweepTrial(Model):
    """One student of a sweep."""

    number: NonNegativeInt
    """In the order in which they were begun."""
    state: Literal["Complete", "Pruned", "Failed"]
    """Pruned: it was behind the others half-way and was ended. Failed: it could not be trained."""
    parameters: Annotated[list[Metric], Field(max_length=16)]
    """What it was trained with, as far as the sweep varies it."""
    score: Number | None = None
    """Best validation score."""


class SweepStatus(Model):
    """What a sweep found, so far or in the end."""

    measure: ShortText
    """What the trials are ranked by, on the validation split."""
    trials: NonNegativeInt
    """Students begun."""
    running: NonNegativeInt = 0
    """Being trained now."""
    pruned: NonNegativeInt = 0
    """Ended half-way."""
    failed: NonNegativeInt = 0
    """Could not be trained."""
    best: NonNegativeInt | None = None
    """The trial whose student went on to evaluation, or is ahead so far."""
    leaders: Annotated[list[SweepTrial], Field(max_length=16)]
    """The best trials, best first; report.html has them all."""


class Lineage(Model):
    """What the artifact was made from."""

    teacher: Annotated[str, Field(max_length=1024)]
    """Digest of the teacher, or its endpoint and model name."""
    data: Annotated[str, Field(max_length=128)]
    """Digest of the data."""
    recipe: Annotated[str, Field(max_length=128)]
    """Digest of recipe, training and student."""
    code_version: ShortText
    """Version of kubedistill that trained it."""
    seed: NonNegativeInt
    """Seed of every random choice."""


class Artifact(Model):
    """The published student."""

    uri: Uri
    """Where it is, with its digest where the place has one."""
    digest: Digest
    """Digest of the manifest (OCI), or of the list of files and their digests."""
    weights_digest: Digest
    """Digest of the weights alone: equal for equal training."""
    size_bytes: BigCount
    """Size of all files."""
    media_type: ShortText | None = None
    """Type of the OCI artifact."""
    formats: Annotated[list[ShortText], Field(max_length=8)]
    """Formats of the weights."""
    also: Annotated[list[Uri], Field(max_length=8)] = []
    """The other places."""
    token_ids_digest: Digest | None = None
    """Digest of token_ids.json: what the student read of a few texts in training. A rollout asks
    its servers for the same before it promotes."""
    lineage: Lineage
    """What it was made from."""


class Publication(Model):
    """What came of one entry of spec.publish."""

    target: NonNegativeInt
    """Place of the entry in spec.publish, from 0."""
    state: Literal["Published", "Failed"]
    """Published: all of it is there and was checked. Failed: no reader sees any of it."""
    uri: Uri | None = None
    """Where the student is, pinned where the place can be pinned."""
    digest: Digest | None = None
    """Digest of the manifest (OCI), or of the list of files and their digests."""
    signature: Uri | None = None
    """Where its signature is."""
    time: datetime
    """When it was published, or tried last."""
    message: Sentence | None = None
    """Why it failed, or what was removed by its retention."""


class Cost(Model):
    """What the job cost and when it pays off."""

    currency: Annotated[str, Field(max_length=3, pattern=r"^[A-Z]{3}$")]
    """ISO 4217 code."""
    amount: Number
    """Sum over all stages."""
    cpu_seconds: Number
    """Processor time."""
    gpu_seconds: Number
    """Accelerators times seconds."""
    teacher_tokens: BigCount
    """Tokens of the teacher."""
    savings_per_day: Number | None = None
    """Saved by the student at prices.dailyRequests."""
    break_even_days: Number | None = None
    """Days after which the job has paid for itself."""


class ChecklistItem(Model):
    """An item of the production checklist."""

    item: ShortText
    """What has to hold."""
    section: ShortText
    """Part of the checklist."""
    state: Literal["Proven", "Failed", "NeedsPerson", "Pending"]
    """Proven or failed by the job, or left to a person."""
    evidence: Sentence | None = None
    """The numbers behind it."""


class Checkpoint(Model):
    """The last checkpoint of the train stage."""

    step: NonNegativeInt
    """Optimiser step."""
    time: datetime
    """When it was reported."""


class JobStatus(Model):
    """What is known of the job."""

    observed_generation: NonNegativeInt = 0
    """Generation of the spec that this status is about."""
    phase: ShortText = "Pending"
    """For people and the printer column only; the conditions are the truth."""
    stage: Stage | None = None
    """The stage that runs or ran last."""
    progress: ShortText | None = None
    """For the printer column: how far that stage is."""
    retention: ShortText | None = None
    """For the printer column: retention by the first gate."""
    speedup: ShortText | None = None
    """For the printer column: student's speed against the teacher's."""
    cost_summary: ShortText | None = None
    """For the printer column: what was spent so far."""
    start_time: datetime | None = None
    """When the first stage started."""
    completion_time: datetime | None = None
    """When the job finished, well or badly."""
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16,
            json_schema_extra=listed_by("type"),
        ),
    ] = []
    """The truth about the job."""
    stages: Annotated[
        list[StageStatus],
        Field(
            max_length=8,
            json_schema_extra=listed_by("name"),
        ),
    ] = []
    """Each stage."""
    checkpoint: Checkpoint | None = None
    """The last checkpoint of training."""
    sweep: SweepStatus | None = None
    """The trials, where several students were trained."""
    evaluation: EvaluationStatus | None = None
    """The student against its teacher."""
    artifact: Artifact | None = None
    """The published student."""
    publications: Annotated[
        list[Publication], Field(max_length=8, json_schema_extra=listed_by("target"))
    ] = []
    """Each entry of spec.publish, as soon as it was tried."""
    published: ShortText | None = None
    """For the printer column: entries of spec.publish that have the student, and all."""
    cost: Cost | None = None
    """What the job cost."""
    checklist: Annotated[list[ChecklistItem], Field(max_length=64)] = []
    """The production checklist."""
    workspace: Uri | None = None
    """Where the stages leave their results."""
