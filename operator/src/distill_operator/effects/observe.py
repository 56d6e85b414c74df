"""From the API server's JSON to frozen observations, without judgement."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from distill_api.base import Model
from distill_api.job import DistillationJobSpec
from distill_api.names import Annotation, Label, Stage
from distill_api.status import JobStatus
from pydantic import ValidationError

from distill_operator.plan.model import (
    Manifest,
    ObservedClaim,
    ObservedJob,
    ObservedObject,
    ObservedPod,
    ObservedStageJob,
)

TRAINER: Final = "trainer"
"""The container that does the stage's work."""
STARTING: Final = frozenset({"ContainerCreating", "PodInitializing"})
"""Waiting reasons that only say that the kubelet is at work."""
STAGES: Final = {stage.value.lower(): stage for stage in Stage}


def moment(text: str | None) -> datetime | None:
    """Return the time that RFC 3339 text names."""
    return datetime.fromisoformat(text) if text else None


def job(body: Manifest) -> ObservedJob:
    """Return the DistillationJob; a spec or status that cannot be read is said to be so."""
    return ours(DistillationJobSpec, JobStatus, body)


def ours[Spec: Model, Status: Model](
    spec_model: type[Spec], status_model: type[Status], body: Manifest
) -> ObservedObject[Spec, Status]:
    """Return an object of ours, read by its models."""
    meta = body["metadata"]
    spec, spec_error = _spec(spec_model, body.get("spec"))
    return ObservedObject(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        generation=meta.get("generation", 1),
        resource_version=meta["resourceVersion"],
        created=datetime.fromisoformat(meta["creationTimestamp"]),
        deleting="deletionTimestamp" in meta,
        finalizers=tuple(meta.get("finalizers") or ()),
        spec=spec,
        spec_error=spec_error,
        status=status(status_model, body.get("status")),
    )


def _spec[Spec: Model](model: type[Spec], raw: Any) -> tuple[Spec | None, str | None]:
    try:
        return model.model_validate(raw), None
    except ValidationError as error:
        return None, _complaints(error)


def _complaints(error: ValidationError) -> str:
    """Return what is wrong with a spec: where and why, at most five times."""
    return "; ".join(_complaint(problem) for problem in error.errors()[:5])


def _complaint(problem: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    return f"spec.{place}: {problem['msg']}" if place else f"spec: {problem['msg']}"


def status[Status: Model](model: type[Status], raw: Any) -> Status:
    """Return the status as written last; an unreadable one counts as empty, and is rewritten."""
    try:
        return model.model_validate(raw or {})
    except ValidationError:
        return model()


def stage_job(body: Manifest) -> ObservedStageJob | None:
    """Return a stage's Job; None where its labels say nothing that we understand."""
    place = _place(body)
    if place is None:
        return None
    meta, found = body["metadata"], body.get("status") or {}
    complete = condition(found, "Complete")
    failed = condition(found, "Failed")
    ended = found.get("completionTime") or (complete or failed or {}).get("lastTransitionTime")
    return ObservedStageJob(
        name=meta["name"],
        uid=meta["uid"],
        stage=place[0],
        attempt=place[1],
        created=datetime.fromisoformat(meta["creationTimestamp"]),
        suspended=bool(body["spec"].get("suspend")),
        active=found.get("active", 0),
        failed=found.get("failed", 0),
        succeeded=found.get("succeeded", 0),
        complete=complete is not None,
        finished=moment(ended),
        failure=(failed.get("reason", ""), failed.get("message", "")) if failed else None,
        deleting="deletionTimestamp" in meta,
        settings_digest=(meta.get("annotations") or {}).get(Annotation.SETTINGS),
    )


def _place(body: Manifest) -> tuple[Stage, int] | None:
    """Return stage and attempt from the labels."""
    labels = body["metadata"].get("labels") or {}
    stage = STAGES.get(str(labels.get(Label.STAGE, "")).lower())
    attempt = str(labels.get(Label.ATTEMPT, ""))
    return (stage, int(attempt)) if stage and attempt.isdecimal() else None


def condition(found: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """Return the condition of a type if it is true."""
    for entry in found.get("conditions") or ():
        if entry["type"] == kind and entry["status"] == "True":
            return dict(entry)
    return None


def pod(body: Manifest, mount_problem: str | None = None) -> ObservedPod | None:
    """Return a stage's pod; None where its labels say nothing that we understand."""
    place = _place(body)
    if place is None:
        return None
    meta, found = body["metadata"], body.get("status") or {}
    ended = _ended(found)
    return ObservedPod(
        name=meta["name"],
        uid=meta["uid"],
        stage=place[0],
        attempt=place[1],
        job_name=controller(body),
        created=datetime.fromisoformat(meta["creationTimestamp"]),
        phase=found.get("phase", "Pending"),
        node=body["spec"].get("nodeName"),
        deleting="deletionTimestamp" in meta,
        disrupted=condition(found, "DisruptionTarget") is not None,
        unschedulable=unschedulable(found),
        waiting=waiting(found),
        started=moment(_running(found).get("startedAt") or ended.get("startedAt")),
        finished=moment(ended.get("finishedAt") or _disrupted_at(found)),
        exit_code=ended.get("exitCode"),
        # The pod's own reason and message, such as Evicted, explain what its container shows.
        exit_reason=found.get("reason") or ended.get("reason"),
        termination_message=(found.get("reason") and found.get("message")) or ended.get("message"),
        mount_problem=mount_problem,
    )


def controller(body: Manifest) -> str:
    """Return the name of the object that controls this one; empty without one."""
    owners = body["metadata"].get("ownerReferences") or ()
    return next((str(owner["name"]) for owner in owners if owner.get("controller")), "")


def _trainer(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the status of the container that does the work."""
    statuses = found.get("containerStatuses") or ()
    named = [entry for entry in statuses if entry["name"] == TRAINER]
    first: Mapping[str, Any] = (named or list(statuses) or [{}])[0]
    return first


def _ended(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how the container ended that does the work, or one before it that failed.

    Not one beside it, a sidecar: that is started anew, whatever becomes of it.
    """
    ended = (_trainer(found).get("state") or {}).get("terminated") or {}
    if _running(found):
        return {}
    before = (
        (entry.get("state") or {}).get("terminated") or {}
        for entry in found.get("initContainerStatuses") or ()
    )
    return ended or next((one for one in before if one.get("exitCode")), {})


def _running(found: Mapping[str, Any]) -> Mapping[str, Any]:
    return (_trainer(found).get("state") or {}).get("running") or {}


def _disrupted_at(found: Mapping[str, Any]) -> str | None:
    """Return when a pod that failed was taken from its node: a lost kubelet tells no end."""
    taken = condition(found, "DisruptionTarget") if found.get("phase") == "Failed" else None
    return taken.get("lastTransitionTime") if taken else None


def unschedulable(found: Mapping[str, Any]) -> str | None:
    """Return why the scheduler finds no node for a pod, by its status."""
    for entry in found.get("conditions") or ():
        if entry["type"] == "PodScheduled" and entry.get("reason") == "Unschedulable":
            return str(entry.get("message", ""))
    return None


def waiting(found: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return reason and message of the first container that cannot start."""
    containers = [
        *(found.get("initContainerStatuses") or ()),
        *(found.get("containerStatuses") or ()),
    ]
    for entry in containers:
        state = (entry.get("state") or {}).get("waiting") or {}
        if state.get("reason") and state["reason"] not in STARTING:
            return str(state["reason"]), str(state.get("message", ""))
    return None


def claim(body: Manifest, owner: str) -> ObservedClaim:
    """Return a claim, owned or not by the DistillationJob with uid `owner`."""
    meta = body["metadata"]
    return ObservedClaim(
        name=meta["name"],
        phase=(body.get("status") or {}).get("phase", "Pending"),
        owned=owned_by(body, owner),
        deleting="deletionTimestamp" in meta,
    )


def owned_by(body: Manifest, owner: str) -> bool:
    """Tell whether an owner reference names this uid."""
    return any(ref["uid"] == owner for ref in body["metadata"].get("ownerReferences") or ())


def bound(body: Manifest, owner: str) -> bool:
    """Tell whether the garbage collector will take an object away with its owner."""
    return owned_by(body, owner) and "deletionTimestamp" not in body["metadata"]


def unstarted(bodies: Iterable[Manifest]) -> list[Manifest]:
    """Return the pods that have a node but have not started a container there."""
    return [
        body
        for body in bodies
        if (body.get("status") or {}).get("phase") == "Pending"
        and body["spec"].get("nodeName")
        and not _running(body.get("status") or {})
    ]
