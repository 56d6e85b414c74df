"""What is seen of the stage whose turn it is: the order of these rules is the policy."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from distill_api.job import DistillationJobSpec
from distill_api.names import Reason, Stage
from distill_api.status import StageStatus
from distill_api.wire import Report

from distill_operator.plan import failure, report, revision, stages, waiting
from distill_operator.plan.failure import Trouble
from distill_operator.plan.model import Observed, ObservedPod, ObservedStageJob
from distill_operator.plan.stages import MOVES, Sight

REPORT_GRACE: Final = timedelta(seconds=10)
"""Pods are watched apart from Jobs, so a Job may be seen to end before its pods."""
_ENDED: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is seen of a stage, and by what."""

    sight: Sight
    attempt: int
    job: ObservedStageJob | None = None
    pods: tuple[ObservedPod, ...] = ()
    """Pods of that Job."""
    report: Report | None = None
    reporter: ObservedPod | None = None
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """One stage cut out of what was observed."""

    stage: Stage
    spec: DistillationJobSpec
    seen: Observed
    attempt: int
    job: ObservedStageJob | None
    pods: tuple[ObservedPod, ...]
    now: datetime


def look(stage: Stage, before: StageStatus, seen: Observed, *, now: datetime) -> Sighting:
    """Return what is seen of a stage that is not complete."""
    assert seen.job.spec is not None
    jobs = [job for job in seen.stage_jobs if job.stage is stage]
    attempt = max([before.attempt, *(job.attempt for job in jobs)])
    job = next((job for job in jobs if job.attempt == attempt), None)
    pods = tuple(p for p in seen.pods if p.stage is stage and p.attempt == attempt)
    scene = Scene(stage, seen.job.spec, seen, attempt, job, pods, now)
    return _done(scene) or _held(scene, _ended(scene)) or _open(scene)


def finished(job: ObservedStageJob) -> bool:
    """Tell whether a Job has ended, well or badly."""
    return job.complete or job.failure is not None


def done_report(stage: Stage, seen: Observed) -> tuple[ObservedPod, Report] | None:
    """Return the report that a stage is done, from whichever attempt, and its pod.

    A Job that is about to be complete is waited for: the next stage must not overtake it.
    """
    working = {job.name for job in seen.stage_jobs if not finished(job) and not job.deleting}
    pods = [pod for pod in seen.pods if pod.stage is stage and pod.job_name not in working]
    for pod in sorted(pods, key=lambda pod: (pod.attempt, pod.created, pod.name), reverse=True):
        if told := report.done(pod):
            return pod, told
    return None


def _done(scene: Scene) -> Sighting | None:
    found = done_report(scene.stage, scene.seen)
    if found is None:
        return None
    pod, told = found
    return Sighting(Sight.DONE, scene.attempt, scene.job, scene.pods, told, pod)


def _ended(scene: Scene) -> Sighting | None:
    job = scene.job
    if job is None or not finished(job):
        return None
    if job.failure is not None and revision.outdated(job, scene.spec):
        return _sight(scene, Sight.RESTARTED)
    if _settling(scene, job):
        return _sight(scene, Sight.UNREPORTED)
    if job.failure is not None:
        return _sight(scene, Sight.BROKEN, failure.of_job(job, scene.pods, scene.spec))
    return _without_report(scene, job)


def _held(scene: Scene, ended: Sighting | None) -> Sighting | None:
    """Let a suspended stage that would start again wait instead."""
    if ended is None or not scene.spec.suspend or not MOVES[ended.sight].creates:
        return ended
    return _sight(scene, Sight.HELD)


def _settling(scene: Scene, job: ObservedStageJob) -> bool:
    if any(pod.phase not in _ENDED for pod in scene.pods):
        return True
    return not scene.pods and scene.now - (job.finished or job.created) < REPORT_GRACE


def _without_report(scene: Scene, job: ObservedStageJob) -> Sighting:
    """Judge a Job that is complete and whose report cannot be read."""
    well = [pod for pod in scene.pods if pod.phase == "Succeeded"]
    if not well:
        lost = (
            f"The report of {scene.stage} is lost, as the pods of Job {job.name} are gone: the"
            " stage is started again, and finds its result if it was complete"
        )
        return _sight(scene, Sight.LOST, Trouble(Reason.REPORT_LOST, lost))
    trouble = failure.unreadable(well[-1], report.read(well[-1]))
    again = scene.attempt < scene.spec.retries
    return _sight(scene, Sight.LOST if again else Sight.BROKEN, trouble)


def _open(scene: Scene) -> Sighting:
    """Judge a stage whose Job is absent or unfinished."""
    job = scene.job
    if scene.spec.suspend:
        return _sight(scene, Sight.HELD)
    if job is None:
        return _absent(scene)
    if job.deleting:
        return _sight(scene, Sight.GONE)
    running = any(pod.phase == "Running" and not pod.deleting for pod in scene.pods)
    if not running and revision.outdated(job, scene.spec):
        return _sight(scene, Sight.REPLACED)
    if job.suspended and scene.spec.queue_name:
        return _sight(scene, Sight.QUEUED)
    return _at_work(scene, job, running=running)


def _absent(scene: Scene) -> Sighting:
    other = at_work(scene.seen)
    if other is None:
        return _sight(scene, Sight.ABSENT)
    message = f"{scene.stage} waits for {other} to end, as both use the same workspace"
    return _sight(scene, Sight.BLOCKED, Trouble(Reason.RUNNING, message))


def _at_work(scene: Scene, job: ObservedStageJob, *, running: bool) -> Sighting:
    failed = failure.of_pods(scene.pods, scene.spec)
    trouble = failed or failure.vanished(job)
    if running:
        return _sight(scene, Sight.RUNNING, trouble)
    stuck = (waiting.of_pod(pod, scene.seen.claims) for pod in scene.pods if not pod.deleting)
    trouble = next((found for found in stuck if found), trouble)
    leaving = next((pod for pod in scene.pods if pod.deleting and pod.phase not in _ENDED), None)
    if leaving:
        trouble = failure.leaving(leaving)
    again = failed or job.failed or leaving
    if _given_up(scene, stuck=trouble is not None and not again):
        assert trouble is not None, "stuck means that there is one"
        return _sight(scene, Sight.GIVEN_UP, failure.skipped(scene.stage, scene.spec, trouble))
    return _sight(scene, Sight.TRIES_AGAIN if again else Sight.WAITING, trouble)


def _given_up(scene: Scene, *, stuck: bool) -> bool:
    """Tell whether a stage that may be left out has waited for its pod as long as it may."""
    patience = stages.patience(scene.spec, scene.stage)
    if not stuck or patience is None:
        return False
    return min(pod.created for pod in scene.pods) + patience <= scene.now


def at_work(seen: Observed) -> str | None:
    """Name something that still works on the workspace: a Job that has not ended, or a pod."""
    jobs = [f"Job {job.name}" for job in seen.stage_jobs if not finished(job)]
    pods = [f"pod {pod.name}" for pod in seen.pods if pod.phase not in _ENDED]
    return next(iter([*jobs, *pods]), None)


def _sight(scene: Scene, sight: Sight, trouble: Trouble | None = None) -> Sighting:
    return Sighting(sight, scene.attempt, scene.job, scene.pods, trouble=trouble)
