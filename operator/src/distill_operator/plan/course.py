"""How far a job is: its stages in their order, up to the first that is not complete."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from distill_api.job import DistillationJobSpec
from distill_api.names import Reason, Stage, StageState
from distill_api.outcome import GateAction
from distill_api.status import Artifact, EvaluationStatus, JobStatus, StageStatus, SweepStatus
from distill_api.wire import Report

from distill_operator.plan import look, progress, record, stages
from distill_operator.plan.failure import Trouble
from distill_operator.plan.look import Sighting
from distill_operator.plan.model import Observed, Settings
from distill_operator.plan.stages import Sight


@dataclass(frozen=True, slots=True)
class Course:
    """The way that a job has gone, and where it stands."""

    stages: tuple[StageStatus, ...] = ()
    current: Stage | None = None
    """The stage whose turn it is; None when all are complete, or a gate was missed."""
    sighting: Sighting | None = None
    """What is seen of it."""
    failure: Trouble | None = None
    """Why the job has failed for good."""
    sweep: SweepStatus | None = None
    evaluation: EvaluationStatus | None = None
    artifact: Artifact | None = None
    reports: Mapping[Stage, Report] = field(default_factory=dict)
    """Of complete stages, as far as their pods are still there."""


def walk(seen: Observed, settings: Settings, *, now: datetime) -> Course:
    """Go through the stages; the ones after the first that is not complete wait."""
    spec, status = seen.job.spec, seen.job.status
    assert spec is not None
    known = {entry.name: entry for entry in status.stages}
    course = Course(sweep=status.sweep, evaluation=status.evaluation, artifact=status.artifact)
    for stage in stages.wanted(spec):
        before = known.get(stage, StageStatus(name=stage, state=StageState.PENDING))
        course = _step(course, before, seen, settings, now=now)
        course = replace(course, failure=course.failure or _missed(course, stage, spec))
    return course


def complete(status: JobStatus) -> frozenset[Stage]:
    """Return the stages that never run again."""
    return frozenset(s.name for s in status.stages if s.state in stages.PASSED)


def _step(
    course: Course, before: StageStatus, seen: Observed, settings: Settings, *, now: datetime
) -> Course:
    if before.state is StageState.COMPLETE:
        found = look.done_report(before.name, seen)
        return _pass(course, before, found[1] if found else None)
    if before.state is StageState.SKIPPED:
        return _pass(course, before, None)
    if course.current is not None or course.failure is not None:
        return replace(course, stages=(*course.stages, record.held_back(before)))
    sighting = look.look(before.name, before, seen, now=now)
    entry = record.entry(before, sighting, seen, settings, now=now)
    if sighting.sight in (Sight.DONE, Sight.GIVEN_UP):
        return _pass(course, entry, sighting.report)
    return replace(
        course,
        stages=(*course.stages, entry),
        current=before.name,
        sighting=sighting,
        failure=sighting.trouble if sighting.sight is Sight.BROKEN else None,
        sweep=_trials(course, before, entry, sighting, seen),
    )


def _trials(
    course: Course, before: StageStatus, entry: StageStatus, sighting: Sighting, seen: Observed
) -> SweepStatus | None:
    """Return the trials so far, taken over whenever the progress told with them is."""
    pushed = progress.of_stage(seen, entry.name, sighting)
    if pushed is None or entry.progress == before.progress:
        return course.sweep
    return pushed.sweep or course.sweep


def _pass(course: Course, entry: StageStatus, told: Report | None) -> Course:
    """Go past a complete stage, with what it left."""
    course = replace(course, stages=(*course.stages, entry))
    if told is None:
        return course
    return replace(
        course,
        reports={**course.reports, entry.name: told},
        sweep=told.sweep or course.sweep,
        evaluation=told.evaluation or course.evaluation,
        artifact=told.artifact or course.artifact,
    )


def _missed(course: Course, stage: Stage, spec: DistillationJobSpec) -> Trouble | None:
    if stage is not Stage.EVALUATE or course.current is not None or course.evaluation is None:
        return None
    if (
        course.evaluation.verdict == "Passed"
        or spec.evaluation.on_missed_gate is GateAction.PUBLISH
    ):
        return None
    message = (
        f"{course.evaluation.explanation} Nothing was published. Train longer, keep more layers or"
        " lower the gate in a new job; onMissedGate: Publish publishes nevertheless"
    )
    return Trouble(Reason.QUALITY_GATE_FAILED, message)
