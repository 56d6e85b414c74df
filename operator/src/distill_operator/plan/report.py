"""Termination messages: a Report, or the last words of a program that could not write one."""

from distill_api.names import Reason, Stage
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
    """Return the report of a pod that did its stage; a share of it is no result."""
    found = read(pod) if pod.phase == "Succeeded" else None
    if found is None or found.outcome != "Done" or found.share:
        return None
    return found


def peer_lost(pod: ObservedPod) -> bool:
    """Tell whether a pod ended only because another one of its stage did."""
    told = read(pod)
    return told is not None and told.failure is not None and told.failure.reason is Reason.PEER_LOST


def _whole(report: Report) -> bool:
    # Without its result a stage is not done: nothing later could judge or name it.
    if report.outcome != "Done" or report.share:
        return True
    result = {Stage.EVALUATE: report.evaluation, Stage.PUBLISH: report.artifact}
    return result.get(report.stage, report) is not None
