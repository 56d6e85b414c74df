"""What a stage used up, over all its pods that reported."""

from collections.abc import Callable, Iterable

from distill_api.names import Stage
from distill_api.status import Usage

from distill_operator.plan import report, text
from distill_operator.plan.model import Observed


def of_stage(before: Usage | None, seen: Observed, stage: Stage) -> Usage | None:
    """Return the larger of what was known and what the visible pods add up to.

    Pods vanish, so their sum may shrink; what was used stays used.
    """
    told = [report.read(pod) for pod in seen.pods if pod.stage is stage]
    found = total(one.usage for one in told if one is not None)
    return found if before is None else _each(max, (before, found))


def total(parts: Iterable[Usage]) -> Usage | None:
    """Add up; None when there is nothing to add, which is not the same as zero."""
    known = list(parts)
    return _each(sum, known) if known else None


def _each(merge: Callable[[list[float]], float], parts: Iterable[Usage | None]) -> Usage | None:
    known = [part for part in parts if part is not None]
    if not known:
        return None

    def one(values: Iterable[str | int | None]) -> float | None:
        measured = [float(value) for value in values if value is not None]
        return merge(measured) if measured else None

    tokens = one(part.teacher_tokens for part in known)
    return Usage(
        seconds=_number(one(part.seconds for part in known)),
        cpu_seconds=_number(one(part.cpu_seconds for part in known)),
        gpu_seconds=_number(one(part.gpu_seconds for part in known)),
        teacher_tokens=None if tokens is None else int(min(tokens, text.LARGEST)),
    )


def _number(value: float | None) -> str | None:
    return None if value is None else text.number(value, 3)
