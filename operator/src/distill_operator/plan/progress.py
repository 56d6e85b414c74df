"""What trainers push, taken over into status no more often than status may be written."""

from datetime import datetime, timedelta

from distill_api.names import Stage
from distill_api.status import Checkpoint, StageProgress

from distill_operator.plan.look import Sighting
from distill_operator.plan.model import Observed, ObservedProgress

CHECKPOINT_METRIC = "checkpointStep"
MOST_METRICS = 32


def updated(
    before: StageProgress | None,
    pushed: ObservedProgress | None,
    *,
    now: datetime,
    every: timedelta,
) -> StageProgress | None:
    """Return the progress for status: the pushed one, unless that is no news or comes too soon."""
    if pushed is None:
        return before
    fresh = _taken(before, pushed, now)
    if before is None:
        return fresh
    same = fresh.model_copy(update={"updated_time": before.updated_time}) == before
    return before if same or now - before.updated_time < every else fresh


def due(
    before: StageProgress | None,
    pushed: ObservedProgress | None,
    *,
    now: datetime,
    every: timedelta,
) -> timedelta | None:
    """Return when a push that came too soon may be written; None when there is none."""
    if before is None or pushed is None:
        return None
    later = updated(before, pushed, now=before.updated_time + every, every=every)
    rest = before.updated_time + every - now
    return rest if later != before and rest > timedelta(0) else None


def of_stage(seen: Observed, stage: Stage, sighting: Sighting) -> ObservedProgress | None:
    """Return the latest push of the stage's present pods; older pods' words do not count."""
    pushed = seen.progress.get(stage)
    alive = {pod.uid for pod in sighting.pods if pod.phase == "Running"}
    return pushed if pushed is not None and pushed.pod_uid in alive else None


def checkpoint(before: Checkpoint | None, told: StageProgress | None) -> Checkpoint | None:
    """Return the last checkpoint of training, as its progress names it."""
    if told is None:
        return before
    steps = [metric.value for metric in told.metrics if metric.name == CHECKPOINT_METRIC]
    if not steps or not steps[0].isdigit():
        return before
    step = int(steps[0])
    if before is not None and before.step == step:
        return before
    return Checkpoint(step=step, time=told.updated_time)


def _taken(before: StageProgress | None, pushed: ObservedProgress, now: datetime) -> StageProgress:
    said = pushed.status
    percent = said.progress_percentage
    if percent is None:
        percent = before.percent if before else 0
    return StageProgress(
        percent=percent,
        remaining_seconds=said.estimated_remaining_seconds,
        metrics=(said.metrics or [])[:MOST_METRICS],
        updated_time=now,
    )
