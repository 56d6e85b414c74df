"""When a finished job has outlived its time."""

from datetime import datetime, timedelta

from distill_api.job import DistillationJobSpec
from distill_api.status import JobStatus

from distill_operator.plan import conditions


def rest(spec: DistillationJobSpec | None, status: JobStatus, *, now: datetime) -> timedelta | None:
    """Return how long a finished job still lives, at least zero; None for ever."""
    if spec is None or spec.ttl_seconds_after_finished is None or not conditions.finished(status):
        return None
    if status.completion_time is None:
        return None
    lives = timedelta(seconds=spec.ttl_seconds_after_finished)
    return max(status.completion_time + lives - now, timedelta(0))
