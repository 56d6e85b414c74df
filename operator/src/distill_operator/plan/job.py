"""The plan for a DistillationJob: from everything that was seen to everything that should be."""

from datetime import datetime, timedelta
from typing import Final

from distill_api.names import FINALIZER, ConditionType, Reason, StageState
from distill_api.status import JobStatus

from distill_operator.plan import (
    again,
    children,
    conditions,
    course,
    deletion,
    news,
    revision,
    summary,
    ttl,
    verdict,
)
from distill_operator.plan.conditions import Claim, Standing
from distill_operator.plan.model import News, Observed, Plan, Settings


def plan(seen: Observed, settings: Settings, *, now: datetime) -> Plan:
    """Decide one pass: children, status, news, and when to look again.

    Pure and total: the same observation gives the same plan, and every observation gives one.
    """
    now = now.replace(microsecond=0)
    if seen.job.deleting:
        return deletion.plan(seen, settings)
    if seen.job.spec is None:
        return _unreadable(seen, now=now)
    if conditions.finished(seen.job.status) and not restarted(seen):
        return _finished(seen, now=now)
    return _going(seen, settings, now=now)


def restarted(seen: Observed) -> bool:
    """Tell whether a failed job begins anew: its settings changed since its last Job was made.

    A job that is suspended too stays failed until it is resumed.
    """
    spec = seen.job.spec
    failed = [s for s in seen.job.status.stages if s.state is StageState.FAILED]
    if spec is None or spec.suspend or not failed:
        return False
    jobs = [job for job in seen.stage_jobs if job.stage is failed[0].name]
    newest = max(jobs, key=lambda job: job.attempt, default=None)
    if newest is None:
        return False
    return newest.attempt > failed[0].attempt or revision.outdated(newest, spec)


def _going(seen: Observed, settings: Settings, *, now: datetime) -> Plan:
    way = course.walk(seen, settings, now=now)
    found = verdict.of_job(seen, way)
    after = summary.of_job(seen, way, found, now=now)
    wanted = children.at_rest(seen)
    if way.sighting is not None and way.current is not None and way.failure is None:
        wanted = children.going(seen, settings, way.current, way.sighting)
    return Plan(
        children=wanted,
        status=after,
        news=news.between(seen.job.status, after),
        finalizers=_finalizers(seen),
        look_again=again.soonest(
            (
                again.going(seen, way, settings, now=now),
                ttl.rest(seen.job.spec, after, now=now),
            )
        ),
    )


def _finished(seen: Observed, *, now: datetime) -> Plan:
    """Leave a job as it ended; only its prices and its time to live still count."""
    spec, before = seen.job.spec, seen.job.status
    assert spec is not None
    after = before.model_copy(
        update={
            "observed_generation": seen.job.generation,
            "conditions": conditions.at_generation(before.conditions, seen.job.generation),
        }
    )
    left = ttl.rest(spec, before, now=now)
    over = left is not None and left <= timedelta(0)
    return Plan(
        children=children.at_rest(seen),
        status=summary.judged(after, spec),
        news=(_EXPIRED,) if over else (),
        finalizers=_finalizers(seen),
        look_again=None if over else left,
        delete_job=over,
    )


def _unreadable(seen: Observed, *, now: datetime) -> Plan:
    """Touch nothing of a job whose spec cannot be read, and say so."""
    before, generation = seen.job.status, seen.job.generation
    why = seen.job.spec_error or "it does not fit this operator's schema"
    message = f"The spec cannot be read: {why}. Create the job anew, or use the operator it is for"
    claims = [
        *conditions.of_standing(Standing.INVALID, Reason.INVALID_SPEC, message),
        _unscheduled(before),
    ]
    after = before.model_copy(
        update={
            "observed_generation": generation,
            "phase": "Invalid",
            "conditions": conditions.updated(before.conditions, claims, generation, now=now),
        }
    )
    if conditions.finished(before):
        after = before
    return Plan(
        children=children.unchanged(seen),
        status=after,
        news=news.between(before, after),
        finalizers=tuple(f for f in seen.job.finalizers if f == FINALIZER),
    )


def _unscheduled(before: JobStatus) -> Claim:
    found = conditions.find(before, ConditionType.SCHEDULED)
    if found is not None:
        return Claim(found.type, found.status, found.reason, found.message)
    message = "No pod waits for a node."
    return Claim(ConditionType.SCHEDULED, "Unknown", Reason.ACCEPTED, message)


def _finalizers(seen: Observed) -> tuple[str, ...]:
    return (FINALIZER,) if deletion.external(seen) else ()


_EXPIRED: Final = News("Normal", Reason.EXPIRED, "ttlSecondsAfterFinished is over: deleted")
