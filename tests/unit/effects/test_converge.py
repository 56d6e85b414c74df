"""Converging acts in the safe order, may be broken off anywhere, and rests when all is well."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jobs
import pytest
from distill_api.names import FINALIZER, Reason
from distill_api.status import JobStatus
from distill_operator import errors
from distill_operator.effects import observe
from distill_operator.effects.cluster import Cluster, Request
from distill_operator.effects.converge import Converger, Subject, subject
from distill_operator.effects.store import Store
from distill_operator.plan.model import Manifest, News, Plan

UID = "owner-uid"
OWNER = [{"uid": UID, "controller": True, "name": "job", "kind": "DistillationJob"}]


class Spy(Cluster):
    """Records each call and answers as the API server would; `trouble` may raise instead."""

    def __init__(self, trouble: Callable[[Request], None] = lambda _: None) -> None:
        self.calls: list[str] = []
        self.bodies: list[Manifest] = []
        self._trouble = trouble
        self.job = the_job()

    def require(self) -> None:
        """Allow every write."""

    def _fence(self) -> None:
        """Allow every write."""

    async def _call(self, request: Request) -> Manifest:
        self.calls.append(f"{request.verb} {request.path.rpartition('/namespaces/ns/')[2]}")
        self.bodies.append(request.body or {})
        self._trouble(request)
        body = request.body or {}
        if request.kind.kind == "DistillationJob":
            body = self.job | body | {"metadata": self.job["metadata"]}
        version = {"resourceVersion": str(len(self.calls) + 100)}
        made = {"uid": f"uid-of-{request.path}"} | body.get("metadata", {}) | version
        return body | {"metadata": made}


def the_job(status: JobStatus | None = None, *finalizers: str) -> Manifest:
    meta: Manifest = {
        "namespace": "ns",
        "name": "job",
        "uid": UID,
        "resourceVersion": "7",
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "finalizers": list(finalizers),
    }
    dumped = (status or JobStatus()).model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"kind": "DistillationJob", "metadata": meta, "spec": {}, "status": dumped}


def a_child(name: str, kind: str = "Job", *, suspend: bool = False) -> Manifest:
    meta: Manifest = {
        "namespace": "ns",
        "name": name,
        "uid": f"uid-{name}",
        "resourceVersion": "5",
        "ownerReferences": OWNER,
        "labels": {"kubedistill.io/job-uid": UID},
    }
    return {"kind": kind, "metadata": meta, "spec": {"suspend": suspend}}


def seen(*children: Manifest, body: Manifest | None = None) -> Subject:
    body = body or the_job()
    return subject(body, observe.job(body), children)


FULL = Plan(
    children=(a_child("claim", "PersistentVolumeClaim"), a_child("new")),
    status=JobStatus(phase="Running"),
    news=(News("Normal", Reason.STAGE_STARTED, "Label started."),),
    finalizers=(FINALIZER,),
)


def converger(spy: Spy, store: Store | None = None) -> Converger:
    kept = store or Store()
    return Converger(spy, lambda kind, body: (kept.put(kind, body), None)[1], reporter="test")


async def test_finalizer_then_children_then_status_then_events() -> None:
    spy = Spy()

    await converger(spy).converge(seen(a_child("old")), FULL, jobs.NOW)

    assert spy.calls[:5] == [
        "PATCH distillationjobs/job",
        "DELETE jobs/old",
        "POST persistentvolumeclaims",
        "POST jobs",
        "PUT distillationjobs/job/status",
    ]
    assert spy.calls[5:] == ["POST events"]


async def test_the_status_is_written_over_what_this_pass_left() -> None:
    spy = Spy()

    await converger(spy).converge(seen(), FULL, jobs.NOW)

    written = next(b for c, b in zip(spy.calls, spy.bodies, strict=True) if c.endswith("/status"))
    # The finalizer's patch was the first call, and its answer had this version.
    assert written["metadata"]["resourceVersion"] == "101"


async def test_a_world_as_planned_is_left_alone() -> None:
    spy = Spy()
    body = the_job(JobStatus(phase="Running"), FINALIZER)
    plan = replace(FULL, news=())

    refused = await converger(spy).converge(seen(*plan.children, body=body), plan, jobs.NOW)

    assert (spy.calls, refused) == ([], ())


@pytest.mark.parametrize("broken", range(6))
async def test_broken_off_at_any_call_nothing_is_told_before_it_is_true(broken: int) -> None:
    def trouble(_: Request) -> None:
        if len(spy.calls) == broken + 1:
            raise errors.NotYet("the API server went away")

    spy = Spy(trouble)
    try:
        await converger(spy).converge(seen(a_child("old")), FULL, jobs.NOW)
    except errors.NotYet:
        assert len(spy.calls) == broken + 1
    status_written = "PUT distillationjobs/job/status" in spy.calls[:broken]
    assert ("POST events" in spy.calls) == (status_written or broken > 5)


async def test_of_an_existing_job_only_suspend_is_patched() -> None:
    spy = Spy()
    wanted = a_child("train", suspend=True) | {"colour": "never looked at"}

    await converger(spy).converge(seen(a_child("train")), Plan((wanted,), JobStatus()), jobs.NOW)

    assert spy.calls == ["PATCH jobs/train"]
    assert spy.bodies == [{"spec": {"suspend": True}}]


async def test_a_finished_job_is_not_suspended() -> None:
    spy = Spy()
    done = a_child("train")
    done["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}

    plan = Plan((a_child("train", suspend=True),), JobStatus())
    await converger(spy).converge(seen(done), plan, jobs.NOW)

    assert spy.calls == []


async def test_only_children_of_this_job_are_deleted() -> None:
    spy = Spy()
    shared = a_child("labels", "PersistentVolumeClaim")
    shared["metadata"]["ownerReferences"] = []
    going = a_child("going")
    going["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"

    plan = Plan((), JobStatus())
    await converger(spy).converge(seen(shared, going, a_child("old")), plan, jobs.NOW)

    assert spy.calls == ["DELETE jobs/old"]
    assert spy.bodies[0]["propagationPolicy"] == "Background"
    assert spy.bodies[0]["preconditions"] == {"uid": "uid-old"}


async def test_a_child_that_is_refused_is_reported_and_the_rest_goes_on() -> None:
    def trouble(request: Request) -> None:
        if request.verb == "POST" and request.kind.plural == "persistentvolumeclaims":
            raise errors.Refused("exceeded quota: storage")

    spy = Spy(trouble)

    refused = await converger(spy).converge(seen(), FULL, jobs.NOW)

    assert [(r.kind, r.name) for r in refused] == [("PersistentVolumeClaim", "claim")]
    assert "exceeded quota" in refused[0].message
    assert "POST jobs" in spy.calls
    assert "PUT distillationjobs/job/status" in spy.calls


@pytest.mark.parametrize(
    ("owners", "outcome"), [(OWNER, "taken over"), ([], "refused"), ([{"uid": "x"}], "refused")]
)
async def test_an_object_of_the_same_name_is_taken_over_only_if_it_is_ours(
    owners: list[Any], outcome: str
) -> None:
    class Taken(Spy):
        async def _call(self, request: Request) -> Manifest:
            await super()._call(request)
            found = a_child("new")
            found["metadata"]["ownerReferences"] = owners
            return found

    def trouble(request: Request) -> None:
        if request.verb == "POST":
            raise errors.Exists("jobs new already exists")

    spy = Taken(trouble)

    refused = await converger(spy).converge(seen(), Plan((a_child("new"),), JobStatus()), jobs.NOW)

    assert bool(refused) == (outcome == "refused")
    assert spy.calls == ["POST jobs", "GET jobs/new"]


async def test_an_event_that_cannot_be_written_does_not_stop_the_pass() -> None:
    def trouble(request: Request) -> None:
        if request.kind.plural == "events":
            raise errors.NotYet("too busy")

    spy = Spy(trouble)
    body = the_job(None, FINALIZER, "other.io/keep")
    spy.job = body
    plan = replace(FULL, finalizers=(), children=())

    await converger(spy).converge(seen(body=body), plan, jobs.NOW)

    assert spy.calls[-2:] == ["POST events", "PATCH distillationjobs/job"]
    assert spy.bodies[-1]["metadata"]["finalizers"] == ["other.io/keep"]


async def test_an_expired_job_is_deleted_last() -> None:
    spy = Spy()

    await converger(spy).converge(seen(), replace(FULL, delete_job=True), jobs.NOW)

    assert spy.calls[-1] == "DELETE distillationjobs/job"


async def test_own_writes_are_seen_at_once() -> None:
    store = Store()

    await converger(Spy(), store).converge(seen(), FULL, jobs.NOW)

    from distill_operator.effects.kinds import JOB

    assert [child["metadata"]["name"] for child in store.children(JOB, UID)] == ["new"]
