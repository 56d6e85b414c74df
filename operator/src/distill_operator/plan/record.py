"""One stage's entry in status, from what was seen of it."""

from datetime import datetime

from distill_api.names import StageState
from distill_api.status import StageStatus

from distill_operator.plan import naming, progress, text, together, usage
from distill_operator.plan.look import Sighting
from distill_operator.plan.model import Observed, ObservedPod, Settings
from distill_operator.plan.stages import MOVES, Sight, after
from distill_operator.render import gang


def entry(
    before: StageStatus, sighting: Sighting, seen: Observed, settings: Settings, *, now: datetime
) -> StageStatus:
    """Return the entry of a stage whose turn it is."""
    common = _counted(before, sighting, seen)
    if sighting.sight is Sight.DONE:
        return _complete(common, sighting, now)
    told = progress.updated(
        before.progress,
        progress.of_stage(seen, before.name, sighting),
        now=now,
        every=settings.progress_write_interval,
    )
    return common.model_copy(
        update={
            "state": after(sighting.sight, before.state),
            "message": _message(sighting),
            "progress": told,
        }
    )


def held_back(before: StageStatus) -> StageStatus:
    """Return the entry of a stage whose turn has not come."""
    return before.model_copy(update={"state": StageState.PENDING, "message": None})


def _counted(before: StageStatus, sighting: Sighting, seen: Observed) -> StageStatus:
    attempt = sighting.attempt + MOVES[sighting.sight].next_attempt
    created = [pod.created for pod in seen.pods if pod.stage is before.name]
    failures = max(before.failures or 0, _failures(before, seen))
    return before.model_copy(
        update={
            "attempt": attempt,
            "job_name": naming.stage_job(seen.job, before.name, attempt),
            "start_time": before.start_time or min(created, default=None),
            "failures": failures or None,
            "usage": usage.of_stage(before.usage, seen, before.name),
        }
    )


def _failures(before: StageStatus, seen: Observed) -> int:
    pods = [pod for pod in seen.pods if pod.stage is before.name]
    assert seen.job.spec is not None
    if gang.pods(seen.job.spec, before.name) > 1:
        return sum(len(together.falls(of_job)) for of_job in _by_job(pods))
    counted = sum(job.failed for job in seen.stage_jobs if job.stage is before.name)
    return max(counted, sum(pod.phase == "Failed" for pod in pods))


def _by_job(pods: list[ObservedPod]) -> list[list[ObservedPod]]:
    return [[p for p in pods if p.job_name == name] for name in {pod.job_name for pod in pods}]


def _complete(common: StageStatus, sighting: Sighting, now: datetime) -> StageStatus:
    told, pod, job = sighting.report, sighting.reporter, sighting.job
    assert told is not None
    ended = (pod and pod.finished) or (job and job.finished) or now
    return common.model_copy(
        update={
            "state": StageState.COMPLETE,
            "completion_time": ended,
            "fingerprint": told.fingerprint,
            "reused": told.reused or None,
            "summary": told.summary or None,
            "progress": None,
            "message": None,
        }
    )


def _message(sighting: Sighting) -> str | None:
    if sighting.trouble is None:
        return None
    words = sighting.trouble.message
    if sighting.sight is Sight.RUNNING:
        words = f"Tried again after: {words}"
    return text.cut(words)


def waits_for(sighting: Sighting) -> bool:
    """Tell whether a pod is expected that does not run yet."""
    return sighting.sight in (Sight.WAITING, Sight.TRIES_AGAIN, Sight.BLOCKED, Sight.GONE)
