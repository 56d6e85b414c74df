"""The status of a job, put together from how far it is and how it stands."""

from collections.abc import Mapping
from datetime import datetime

from distill_api.job import DistillationJobSpec
from distill_api.names import Stage
from distill_api.status import Checkpoint, JobStatus, StageStatus

from distill_operator.plan import (
    checklist,
    columns,
    conditions,
    cost,
    progress,
    publications,
    task,
    verdict,
)
from distill_operator.plan.conditions import Standing
from distill_operator.plan.course import Course
from distill_operator.plan.evidence import Evidence
from distill_operator.plan.model import Observed
from distill_operator.plan.verdict import Verdict

type Facts = Mapping[Stage, Mapping[str, str]]


def of_job(seen: Observed, way: Course, found: Verdict, *, now: datetime) -> JobStatus:
    """Return the status of a job that is at work or has just ended."""
    spec, before = seen.job.spec, seen.job.status
    assert spec is not None
    ended = found.standing in (Standing.SUCCEEDED, Standing.FAILED)
    shown = _shown(way)
    claims = [
        *conditions.of_standing(found.standing, found.reason, found.message),
        verdict.scheduled(before, way),
    ]
    status = JobStatus(
        observed_generation=seen.job.generation,
        phase=_phase(way, found),
        stage=shown.name if shown else None,
        progress=columns.progress(shown, found.reason),
        start_time=before.start_time or _first_start(way),
        completion_time=(before.completion_time or now) if ended else None,
        conditions=conditions.updated(before.conditions, claims, seen.job.generation, now=now),
        stages=list(way.stages),
        checkpoint=_checkpoint(before.checkpoint, way),
        sweep=way.sweep,
        evaluation=way.evaluation,
        artifact=way.artifact,
        publications=publications.of_job(before.publications, seen),
        checklist=before.checklist,
        workspace=task.workspace_uri(seen.job, spec),
    )
    facts = {stage: told.facts for stage, told in way.reports.items()}
    return judged(status, spec, facts)


def judged(status: JobStatus, spec: DistillationJobSpec, facts: Facts | None = None) -> JobStatus:
    """Return a status with what follows from its own numbers: cost, checklist, columns."""
    spent = cost.of_job(status.stages, spec.prices)
    known = Evidence(spec, facts or {}, status.evaluation, status.artifact, spent)
    return status.model_copy(
        update={
            "cost": spent,
            "cost_summary": columns.cost(spent, spec),
            "retention": columns.retention(status.evaluation, spec),
            "speedup": columns.speedup(status.evaluation),
            "published": publications.column(status.publications, spec),
            "checklist": checklist.updated(status.checklist, known),
        }
    )


def _phase(way: Course, found: Verdict) -> str:
    if found.standing is Standing.GOING and _first_start(way) is None:
        return "Pending"
    return columns.PHASES[found.standing]


def _shown(way: Course) -> StageStatus | None:
    """Return the stage that runs or ran last."""
    if way.current is not None:
        return next(entry for entry in way.stages if entry.name is way.current)
    started = [entry for entry in way.stages if entry.start_time is not None]
    return started[-1] if started else None


def _first_start(way: Course) -> datetime | None:
    return min((s.start_time for s in way.stages if s.start_time is not None), default=None)


def _checkpoint(before: Checkpoint | None, way: Course) -> Checkpoint | None:
    train = next((entry for entry in way.stages if entry.name is Stage.TRAIN), None)
    return progress.checkpoint(before, train.progress if train else None)
