"""What came of each target of spec.publish, as the pods of the publish stage told it."""

from collections.abc import Iterator, Sequence

from distill_api.job import DistillationJobSpec
from distill_api.names import Reason, Stage
from distill_api.status import JobStatus, Publication

from distill_operator.plan import report, text
from distill_operator.plan.model import News, Observed


def of_job(before: Sequence[Publication], seen: Observed) -> list[Publication]:
    """Return what the newest pod told, well or badly; what was known before where none did."""
    pods = [pod for pod in seen.pods if pod.stage is Stage.PUBLISH]
    for pod in sorted(pods, key=lambda pod: (pod.attempt, pod.created, pod.name), reverse=True):
        told = report.read(pod)
        if told is not None and told.publications:
            return list(told.publications)
    return list(before)


def column(publications: Sequence[Publication], spec: DistillationJobSpec) -> str | None:
    """Return how many targets have the student: `2/3`; None before any was tried."""
    if not publications:
        return None
    there = sum(told.state == "Published" for told in publications)
    return f"{there}/{len(spec.publish)}"


def news(before: JobStatus, now: JobStatus) -> Iterator[News]:
    """Yield what is new of each target."""
    old = {told.target: told for told in before.publications}
    for told in now.publications:
        if told != old.get(told.target):
            yield _published(told) if told.state == "Published" else _failed(told)


def _published(told: Publication) -> News:
    more = f". {told.message}" if told.message else ""
    signed = " and signed" if told.signature else ""
    message = f"publish[{told.target}] is at {told.uri}{signed}{more}"
    return News("Normal", Reason.PUBLISHED, text.cut(message, text.NOTE))


def _failed(told: Publication) -> News:
    message = f"publish[{told.target}]: {told.message}"
    return News("Warning", Reason.PUBLICATION_FAILED, text.cut(message, text.NOTE))
