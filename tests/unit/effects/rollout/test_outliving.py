"""What serves outlives its rollout, and what an earlier rollout left is not taken over."""

from typing import Final

import pytest
import rollout_bodies as bodies
from distill_api.names import ROLLOUT_FINALIZER
from distill_api.rollout_status import RolloutStatus
from distill_operator import errors
from distill_operator.effects.cluster import Request
from distill_operator.plan.rollout.children import Children
from distill_operator.plan.rollout.model import Child
from distill_operator.plan.rollout.rollout import Plan
from rollout_spy import SELF, Spy, a_child, converger, seen
from rollouts import NOW, OWNER

APPLIED: Final = Plan(
    status=RolloutStatus(),
    children=Children(applied=(a_child("service"),)),
    finalizers=(ROLLOUT_FINALIZER,),
)


async def test_what_an_earlier_rollout_left_is_refused_with_what_to_do() -> None:
    spy = Spy()
    left = bodies.a_service("student")
    left["metadata"] |= {"ownerReferences": []}
    spy.there["services/minilm-student"] = left

    refused = await converger(spy).converge(seen(), APPLIED, NOW)

    assert "kubectl delete httproute,service,deployment -l kubedistill.io/rollout=minilm" in (
        refused.children[0].message
    )
    assert "PATCH services/minilm-student" not in spy.calls


ORPHANS: Final = Plan(
    status=RolloutStatus(),
    children=Children(
        kept=(Child("Deployment", "minilm-teacher"),),
        orphaned=(Child("Deployment", "minilm-student"), Child("HTTPRoute", OWNER.name)),
    ),
    finalizers=(ROLLOUT_FINALIZER,),
)


async def test_what_outlives_the_rollout_loses_our_reference_and_nothing_else() -> None:
    spy = Spy()
    student, route = bodies.a_deployment("student"), bodies.a_route(student=1000)
    other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "theirs", "uid": "other"}
    student["metadata"]["ownerReferences"].append(other)
    going = seen(student, route, bodies.a_deployment("teacher"), finalizers=[ROLLOUT_FINALIZER])
    going.body["status"] = {}

    await converger(spy).converge(going, ORPHANS, NOW)

    assert spy.calls == ["PATCH deployments/minilm-student", f"PATCH httproutes/{OWNER.name}"]
    version = student["metadata"]["resourceVersion"]
    assert [request.body for request in spy.requests] == [
        {"metadata": {"ownerReferences": [other], "resourceVersion": version}},
        {"metadata": {"ownerReferences": [], "resourceVersion": version}},
    ]
    assert {request.content for request in spy.requests} == {"application/merge-patch+json"}


async def test_where_nothing_is_known_of_who_serves_everything_is_left() -> None:
    spy = Spy()
    arms = [bodies.a_deployment(arm) for arm in ("teacher", "student")]
    going = seen(*arms, finalizers=[ROLLOUT_FINALIZER], deletionTimestamp=bodies.AT)
    going.body["status"] = {}
    plan = Plan(status=RolloutStatus(), keeps_all=True, orphans_all=True)

    await converger(spy).converge(going, plan, NOW)

    assert spy.calls == [
        "PATCH deployments/minilm-teacher",
        "PATCH deployments/minilm-student",
        f"PATCH {SELF}",
    ]


async def test_what_changed_before_it_was_let_go_of_is_read_again() -> None:
    def trouble(request: Request) -> None:
        if request.verb == "PATCH":
            raise errors.Conflict("the object has been modified")

    spy, remembered = Spy(trouble), list[str]()
    student = bodies.a_deployment("student")
    spy.there["deployments/minilm-student"] = student
    going = seen(student, finalizers=[ROLLOUT_FINALIZER])
    going.body["status"] = {}

    with pytest.raises(errors.Conflict):
        await converger(spy, lambda kind, _: remembered.append(kind.kind)).converge(
            going, ORPHANS, NOW
        )

    assert remembered == ["Deployment"]
