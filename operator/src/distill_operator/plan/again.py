"""When to look again although nothing has changed."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from distill_api.names import StageState
from distill_api.status import StageStatus

from distill_operator.plan import progress
from distill_operator.plan.course import Course
from distill_operator.plan.model import Observed, Settings
from distill_operator.plan.stages import Sight

REFUSED: Final = timedelta(seconds=30)
"""A quota or an admission policy may change without a sign to us."""
NOT_STARTED: Final = timedelta(seconds=30)
"""Why a volume does not mount is told in Events, which are not watched."""
REPORT: Final = timedelta(seconds=3)


def soonest(times: Iterable[timedelta | None]) -> timedelta | None:
    """Return the first of several times; None when there is none."""
    return min((time for time in times if time is not None), default=None)


def going(seen: Observed, course: Course, settings: Settings, *, now: datetime) -> timedelta | None:
    """Return when to look again at a job at work."""
    if course.sighting is None:
        return None
    waits = {
        Sight.UNREPORTED: REPORT,
        Sight.WAITING: NOT_STARTED,
        Sight.TRIES_AGAIN: NOT_STARTED,
        Sight.BLOCKED: NOT_STARTED,
        Sight.GONE: NOT_STARTED,
    }
    return soonest(
        (
            REFUSED if seen.refused else None,
            waits.get(course.sighting.sight),
            _push(seen, course, settings, now),
        )
    )


def _push(seen: Observed, course: Course, settings: Settings, now: datetime) -> timedelta | None:
    entry = _running(course)
    if entry is None or course.sighting is None:
        return None
    return progress.due(
        entry.progress,
        progress.of_stage(seen, entry.name, course.sighting),
        now=now,
        every=settings.progress_write_interval,
    )


def _running(course: Course) -> StageStatus | None:
    return next(
        (
            entry
            for entry in course.stages
            if entry.name is course.current and entry.state is not StageState.COMPLETE
        ),
        None,
    )
