"""Sentences for Events, told once: only what differs between the last status and this one."""

from collections.abc import Iterator
from itertools import chain

from distill_api.names import ConditionType, Reason, StageState
from distill_api.status import Condition, JobStatus, StageStatus

from distill_operator.plan import conditions, publications, text
from distill_operator.plan.model import News
from distill_operator.plan.stages import PASSED

_CALM = frozenset({Reason.RUNNING, Reason.ACCEPTED, Reason.SUCCEEDED, Reason.SUSPENDED})


def between(before: JobStatus, now: JobStatus) -> tuple[News, ...]:
    """Return what has happened since the status was written last; nothing when it is equal."""
    old = {entry.name: entry for entry in before.stages}
    of_stages = chain.from_iterable(_of_stage(old.get(s.name), s) for s in now.stages)
    told = list(of_stages)
    others = (*publications.news(before, now), *_of_job(before, now))
    return (*told, *(item for item in others if not _repeats(item, told)))


def _repeats(item: News, told: list[News]) -> bool:
    # A stage that is tried again has said why already.
    return any(item.message in other.message for other in told)


def _of_stage(old: StageStatus | None, new: StageStatus) -> Iterator[News]:
    if new.start_time is not None and (old is None or old.start_time is None):
        yield _normal(Reason.STAGE_STARTED, f"{new.name} started as Job {new.job_name}")
    if old is not None and old.state in PASSED:
        return
    if new.state is StageState.SKIPPED:
        yield _warning(Reason.STAGE_SKIPPED, new.message or f"{new.name} was left out")
        return
    if new.state is StageState.COMPLETE:
        yield _complete(new)
    elif new.state is not StageState.FAILED and _tries_again(old, new):
        words = new.message or _what_was_made(old, new)
        yield _warning(Reason.STAGE_RETRYING, f"{new.name} is tried again: {words}")


def _what_was_made(old: StageStatus | None, new: StageStatus) -> str:
    anew = new.attempt > (old.attempt if old else 0)
    return "its Job was made anew" if anew else "a pod ended early, and another one took its place"


def _complete(new: StageStatus) -> News:
    if new.reused:
        return _normal(Reason.STAGE_REUSED, f"{new.name} found its result: {new.summary or ''}")
    took = "" if new.completion_time is None else text.since(new.start_time, new.completion_time)
    told = f": {new.summary}" if new.summary else ""
    return _normal(Reason.STAGE_COMPLETE, f"{new.name} is complete{took}{told}")


def _tries_again(old: StageStatus | None, new: StageStatus) -> bool:
    failures = (old.failures if old else None) or 0
    attempt = old.attempt if old else 0
    return (new.failures or 0) > failures or new.attempt > attempt


def _of_job(before: JobStatus, now: JobStatus) -> Iterator[News]:
    yield from _suspension(before, now)
    old, new = (conditions.find(status, ConditionType.SUCCEEDED) for status in (before, now))
    if new is None:
        return
    if new.status != "Unknown" and (old is None or old.status != new.status):
        yield _ended(new)
    elif new.status == "Unknown" and _worries(old, new):
        yield _warning(new.reason, new.message)


def _suspension(before: JobStatus, now: JobStatus) -> Iterator[News]:
    old, new = (conditions.find(status, ConditionType.SUSPENDED) for status in (before, now))
    was, is_now = old is not None and old.status == "True", new is not None and new.status == "True"
    if new is not None and is_now and not was:
        yield _normal(Reason.SUSPENDED, new.message)
    if was and not is_now:
        yield _normal(Reason.RESUMED, "spec.suspend is false again: the job goes on")


def _worries(old: Condition | None, new: Condition) -> bool:
    changed = old is None or old.reason is not new.reason
    return changed and new.reason not in _CALM and new.reason is not Reason.QUEUED


def _ended(new: Condition) -> News:
    if new.status == "True":
        return _normal(new.reason, new.message)
    return _warning(new.reason, new.message)


def _normal(reason: Reason, message: str) -> News:
    return News("Normal", reason, text.cut(message, text.NOTE))


def _warning(reason: Reason, message: str) -> News:
    return News("Warning", reason, text.cut(message, text.NOTE))
