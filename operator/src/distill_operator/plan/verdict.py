"""How a job stands as a whole, with the reason and the sentence behind it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from distill_api.job import DistillationJobSpec
from distill_api.names import ConditionType, Reason, StageState
from distill_api.status import JobStatus

from distill_operator.plan import columns, conditions, together
from distill_operator.plan.conditions import Claim, Standing
from distill_operator.plan.course import Course
from distill_operator.plan.failure import Trouble
from distill_operator.plan.look import Sighting
from distill_operator.plan.model import Observed
from distill_operator.plan.stages import Sight


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a job stands, and why."""

    standing: Standing
    reason: Reason
    message: str


_WORDS: Final[Mapping[Sight, str]] = {
    Sight.ABSENT: "starts",
    Sight.GONE: "waits for its deleted Job to go, and starts again",
    Sight.WAITING: "waits for its pod to start",
    Sight.RUNNING: "is running",
    Sight.TRIES_AGAIN: "is tried again",
    Sight.UNREPORTED: "has ended; its report is awaited",
    Sight.REPLACED: "starts again with the changed settings",
    Sight.RESTARTED: "starts again with the changed settings",
}
_COUNTED: Final = frozenset({Sight.WAITING, Sight.RUNNING, Sight.TRIES_AGAIN})
"""Where it is worth knowing how many pods are ready."""


def of_job(seen: Observed, course: Course) -> Verdict:
    """Judge a job by how far it is."""
    if course.failure is not None:
        return Verdict(Standing.FAILED, course.failure.reason, course.failure.message)
    if course.current is None or course.sighting is None:
        return Verdict(Standing.SUCCEEDED, Reason.SUCCEEDED, _success(seen, course))
    if course.sighting.sight is Sight.HELD:
        message = f"spec.suspend is true: {course.current} goes on when it is false"
        return Verdict(Standing.SUSPENDED, Reason.SUSPENDED, message)
    found = _refused(seen) or _queued(seen, course) or _troubled(course.sighting)
    if found is not None:
        return Verdict(Standing.GOING, found.reason, found.message)
    words = f"{course.current} {_WORDS[course.sighting.sight]}"
    count = together.ready(seen, course.current, course.sighting.pods)
    several = count is not None and course.sighting.sight in _COUNTED
    return Verdict(Standing.GOING, Reason.RUNNING, f"{words}: {count}" if several else words)


def _refused(seen: Observed) -> Trouble | None:
    if not seen.refused:
        return None
    first = seen.refused[0]
    message = f"The API server refused {first.kind} {first.name}: {first.message}"
    return Trouble(Reason.CHILD_REFUSED, message)


def _queued(seen: Observed, course: Course) -> Trouble | None:
    if course.sighting is None or course.sighting.sight is not Sight.QUEUED:
        return None
    assert seen.job.spec is not None
    message = f"{course.current} waits for Kueue in LocalQueue {seen.job.spec.queue_name}"
    return Trouble(Reason.QUEUED, message)


def _troubled(sighting: Sighting) -> Trouble | None:
    # While a pod runs, the failure of the one before is history.
    return None if sighting.sight is Sight.RUNNING else sighting.trouble


def _success(seen: Observed, course: Course) -> str:
    assert seen.job.spec is not None
    where = course.artifact.uri if course.artifact else "its place"
    left_out = [f". {one.message}" for one in course.stages if one.state is StageState.SKIPPED]
    return (
        f"The student is published at {where}{_quality(course, seen.job.spec)}{''.join(left_out)}"
    )


def _quality(course: Course, spec: DistillationJobSpec) -> str:
    kept, speed = columns.retention(course.evaluation, spec), columns.speedup(course.evaluation)
    if course.evaluation is None or kept is None:
        return ""
    missed = "" if course.evaluation.verdict == "Passed" else " (a gate was missed)"
    return f": {kept} of the teacher's quality at {speed} its speed{missed}"


def scheduled(before: JobStatus, course: Course) -> Claim:
    """Say whether the present stage's pod has a node; between two pods the last word stays."""
    sighting = course.sighting
    kind = ConditionType.SCHEDULED
    if sighting is not None:
        if sighting.sight is Sight.QUEUED:
            return Claim(kind, "False", Reason.QUEUED, f"{course.current} waits for Kueue")
        if sighting.trouble is not None and any(pod.unschedulable for pod in sighting.pods):
            return Claim(kind, "False", Reason.UNSCHEDULABLE, sighting.trouble.message)
        if any(pod.node for pod in sighting.pods):
            return Claim(kind, "True", Reason.RUNNING, "A node has taken the pod.")
    found = conditions.find(before, kind)
    if found is not None and found.status != "False":
        return Claim(kind, found.status, found.reason, found.message)
    return Claim(kind, "Unknown", Reason.ACCEPTED, "No pod waits for a node.")
