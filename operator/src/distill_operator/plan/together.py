"""Stages of several pods: which of them failed first, how many tries that makes, who is ready."""

from collections.abc import Sequence
from datetime import datetime

from distill_api.names import Stage

from distill_operator.plan import report
from distill_operator.plan.model import Observed, ObservedPod
from distill_operator.render import gang


def generations(pods: Sequence[ObservedPod]) -> list[list[ObservedPod]]:
    """Group failed pods, oldest first: those that were there when the first of a group failed.

    Pods that fail together fall one after the other. One pod at a time makes groups of one.
    """
    groups: list[list[ObservedPod]] = []
    for pod in sorted((pod for pod in pods if pod.phase == "Failed"), key=_order):
        if groups and pod.created <= _ended(groups[-1][0]):
            groups[-1].append(pod)
        else:
            groups.append([pod])
    return groups


def falls(pods: Sequence[ObservedPod]) -> list[list[ObservedPod]]:
    """Return the generations that fell for a reason of their own.

    A replacement that met what was left of the generation before fell with it.
    """
    groups = generations(pods)
    own = [group for group in groups if not all(map(report.peer_lost, group))]
    return own or groups[-1:]


def culprit(pods: Sequence[ObservedPod]) -> ObservedPod | None:
    """Return the pod that the newest failure began with; one that lost a peer is an echo."""
    groups = falls(pods)
    if not groups:
        return None
    return min(groups[-1], key=lambda pod: (report.peer_lost(pod), *_order(pod)))


def tries(pods: Sequence[ObservedPod]) -> int:
    """Count the tries that failed: pods that fell together are one, disruptions are none."""
    return sum(any(_counts(pod) for pod in group) for group in generations(pods))


def exhausted(seen: Observed, stage: Stage, pods: Sequence[ObservedPod]) -> bool:
    """Tell whether a stage of several pods has had its tries.

    Kubernetes counts pods, and so is given a limit that it cannot reach earlier.
    """
    spec = seen.job.spec
    assert spec is not None
    return gang.pods(spec, stage) > 1 and tries(pods) > spec.retries


def ready(seen: Observed, stage: Stage, pods: Sequence[ObservedPod]) -> str | None:
    """Return `2 of 3 pods ready`; None for a stage of one pod."""
    assert seen.job.spec is not None
    wanted = gang.pods(seen.job.spec, stage)
    if wanted == 1:
        return None
    well = sum(pod.phase == "Succeeded" for pod in pods)
    running = sum(pod.phase == "Running" and not pod.deleting for pod in pods)
    done = f", {well} done" if well else ""
    return f"{running} of {wanted} pods ready{done}"


def _counts(pod: ObservedPod) -> bool:
    return not pod.disrupted and not report.peer_lost(pod)


def _order(pod: ObservedPod) -> tuple[datetime, str]:
    return _ended(pod), pod.name


def _ended(pod: ObservedPod) -> datetime:
    return pod.finished or pod.created
