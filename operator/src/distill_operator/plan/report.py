"""Termination messages: a Report, or the last words of a program that could not write one."""

from distill_api.names import Stage
from distill_api.wire import Report
from pydantic import ValidationError

from distill_operator.plan.model import ObservedPod


def read(pod: ObservedPod) -> Report | None:
    """Return what a pod reported of its own stage; None for anything else it left."""
    if not pod.termination_message:
        return None
    try:
        found = Report.model_validate_json(pod.termination_message)
    except ValidationError:
        return None
    return found if found.stage is pod.stage and _whole(found) else None


def done(pod: ObservedPod) -> Report | None:
    """Return the report of a pod that did its stage."""
    found = read(pod) if pod.phase == "Succeeded" else None
    return found if found is not None and found.outcome == "Done" else None


def _whole(report: Report) -> bool:
    # Without its result a stage is not done: nothing later could judge or name it.
    if report.outcome != "Done":
        return True
    result = {Stage.EVALUATE: report.evaluation, Stage.PUBLISH: report.artifact}
    return result.get(report.stage, report) is not None
