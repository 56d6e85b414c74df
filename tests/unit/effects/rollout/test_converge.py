"""A decision is written before it is done; what is refused is said; nobody else is hurt."""

from dataclasses import replace
from typing import Final

import pytest
import rollout_bodies as bodies
from distill_api.names import ROLLOUT_FINALIZER, RolloutReason
from distill_api.rollout_status import RolloutStatus
from distill_operator import errors
from distill_operator.effects.cluster import Request
from distill_operator.effects.kinds import DISTILLED_ROLLOUT, HTTP_ROUTE, Kind
from distill_operator.effects.rollout.converge import Subject
from distill_operator.plan.model import Manifest
from distill_operator.plan.rollout.children import Children
from distill_operator.plan.rollout.model import Child, RouteEdit
from distill_operator.plan.rollout.news import Tidings
from distill_operator.plan.rollout.rollout import Plan
from rollout_spy import SELF, Spy, a_child, converger, seen
from rollouts import NOW, OWNER


def the_edit(version: str = "5") -> RouteEdit:
    test = {"op": "test", "path": "/metadata/resourceVersion", "value": version}
    change = {"op": "add", "path": "/spec/rules/0/backendRefs/1/weight", "value": 50}
    return RouteEdit(OWNER.name, (test, change), "5% of minilm to minilm-student")


TOLD: Final = Tidings("Normal", RolloutReason.STEP_DONE, "Progressing step 2")
FULL: Final = Plan(
    status=RolloutStatus(message="new"),
    children=Children(applied=(a_child("service"), a_child())),
    edit=the_edit(),
    news=(TOLD,),
    finalizers=(ROLLOUT_FINALIZER,),
)


async def test_finalizer_status_children_route_events_in_this_order() -> None:
    spy = Spy()
    old = bodies.a_deployment("teacher")

    await converger(spy).converge(seen(old), FULL, NOW)

    assert spy.calls == [
        f"PATCH {SELF}",
        f"PUT {SELF}/status",
        "DELETE deployments/minilm-teacher",
        "GET services/minilm-student",
        "PATCH services/minilm-student",
        "GET deployments/minilm-student",
        "PATCH deployments/minilm-student",
        f"PATCH httproutes/{OWNER.name}",
        "POST events",
    ]


async def test_the_status_is_written_only_over_what_was_read() -> None:
    spy = Spy()

    await converger(spy).converge(seen(finalizers=[ROLLOUT_FINALIZER]), FULL, NOW)

    assert spy.calls[0] == f"PUT {SELF}/status"
    written = spy.requests[0].body
    assert isinstance(written, dict)
    assert written["metadata"]["resourceVersion"] == "5"
    assert written["status"]["message"] == "new"


async def test_children_are_applied_by_server_side_apply_and_the_route_by_guarded_patch() -> None:
    spy = Spy()

    await converger(spy).converge(seen(), FULL, NOW)

    by_call = dict(zip(spy.calls, spy.requests, strict=True))
    applied = by_call["PATCH deployments/minilm-student"]
    assert applied.content == "application/apply-patch+yaml"
    assert applied.query["fieldManager"] == "kubedistill"
    moved = by_call[f"PATCH httproutes/{OWNER.name}"]
    assert moved.content == "application/json-patch+json"
    assert list(moved.body or ()) == list(the_edit().operations)


@pytest.mark.parametrize("broken", range(7))
async def test_broken_off_at_any_call_no_decision_has_effect_before_it_is_written(
    broken: int,
) -> None:
    def trouble(_: Request) -> None:
        if len(spy.calls) == broken + 1:
            raise errors.NotYet("the API server went away")

    spy = Spy(trouble)
    with pytest.raises(errors.NotYet):
        await converger(spy).converge(seen(), FULL, NOW)

    written = f"PUT {SELF}/status" in spy.calls[:broken]
    effects = [c for c in spy.calls if "deployments" in c or "httproutes" in c or "events" in c]
    assert bool(effects) == written


@pytest.mark.parametrize("writes", range(6))
async def test_a_replica_that_lost_the_lease_writes_nothing_more(writes: int) -> None:
    class Losing(Spy):
        def _fence(self) -> None:
            if sum(call.split()[0] != "GET" for call in self.calls) >= writes:
                raise errors.NotLeading("this replica does not hold the lease")

    spy = Losing()
    with pytest.raises(errors.NotLeading):
        await converger(spy).converge(seen(bodies.a_deployment("teacher")), FULL, NOW)

    assert sum(call.split()[0] != "GET" for call in spy.calls) == writes


async def test_a_status_that_somebody_else_changed_stops_everything() -> None:
    def trouble(request: Request) -> None:
        if request.verb == "PUT":
            raise errors.Conflict("the object has been modified")

    spy = Spy(trouble)
    with pytest.raises(errors.Conflict):
        await converger(spy).converge(seen(finalizers=[ROLLOUT_FINALIZER]), FULL, NOW)

    assert spy.calls == [f"PUT {SELF}/status"]


async def test_a_child_that_cannot_be_written_does_not_keep_the_route_from_moving() -> None:
    def trouble(request: Request) -> None:
        if request.kind.plural == "deployments":
            raise errors.NotYet("a webhook does not answer")

    spy = Spy(trouble)
    with pytest.raises(errors.NotYet, match="a webhook"):
        await converger(spy).converge(seen(), FULL, NOW)

    assert spy.calls[-2:] == [f"PATCH httproutes/{OWNER.name}", "POST events"]


async def test_a_refused_child_is_reported_and_the_rest_goes_on() -> None:
    def trouble(request: Request) -> None:
        if request.kind.plural == "deployments" and request.verb == "PATCH":
            raise errors.Refused("exceeded quota: pods")

    spy = Spy(trouble)
    refused = await converger(spy).converge(seen(), FULL, NOW)

    assert [(r.kind, r.name, r.message) for r in refused.children] == [
        ("Deployment", "minilm-student", "exceeded quota: pods")
    ]
    assert f"PATCH httproutes/{OWNER.name}" in spy.calls


async def test_a_cluster_that_drops_image_volumes_is_told_with_what_to_set() -> None:
    def trouble(request: Request) -> None:
        if request.kind.plural == "deployments" and request.verb == "PATCH":
            raise errors.Refused(
                "spec.template.spec.volumes[1]: Required value: must specify a volume type"
            )

    refused = await converger(Spy(trouble)).converge(seen(), FULL, NOW)

    assert refused.children[0].message.endswith("Set rollouts.imageVolumes to off")


async def test_what_was_applied_is_applied_again_only_when_it_or_the_object_changed() -> None:
    spy = Spy()
    hand = converger(spy)
    plan = replace(
        FULL, children=Children(applied=(a_child(),)), edit=None, news=(), status=RolloutStatus()
    )
    there = bodies.a_deployment("student")
    there["metadata"]["uid"] = "uid-of-deployments/minilm-student"
    body = seen(there, finalizers=[ROLLOUT_FINALIZER])
    body.body["status"] = {}

    async def passes(subject: Subject, wanted: Plan) -> list[str]:
        spy.calls.clear()
        await hand.converge(subject, wanted, NOW)
        return list(spy.calls)

    apply = ["PATCH deployments/minilm-student"]
    assert await passes(body, plan) == apply, "a new operator does not know what was applied"
    version = str(100 + 1)
    there["metadata"]["generation"] = int(version)
    assert await passes(body, plan) == []
    there["metadata"]["generation"] += 1
    assert await passes(body, plan) == apply, "somebody else has written it"
    changed = a_child()
    changed["spec"]["replicas"] = 3
    there["metadata"]["generation"] = int(version)
    assert await passes(body, replace(plan, children=Children(applied=(changed,)))) == apply


async def test_an_object_of_somebody_else_is_not_taken_over() -> None:
    spy = Spy()
    theirs = bodies.a_service("student")
    theirs["metadata"] |= {"ownerReferences": [], "labels": {}}
    spy.there["services/minilm-student"] = theirs

    refused = await converger(spy).converge(seen(), FULL, NOW)

    assert "does not belong to this rollout" in refused.children[0].message
    assert "PATCH services/minilm-student" not in spy.calls


async def test_nothing_is_deleted_that_is_kept_or_not_ours_or_unknown() -> None:
    spy = Spy()
    theirs = bodies.a_service("teacher")
    theirs["metadata"]["ownerReferences"] = []
    children = (bodies.a_deployment("student"), bodies.a_deployment("teacher"), theirs)
    kept = Children(kept=(Child("Deployment", "minilm-student"),))
    plan = Plan(RolloutStatus(message="x"), children=kept)

    await converger(spy).converge(seen(*children), plan, NOW)
    assert spy.calls == [f"PUT {SELF}/status", "DELETE deployments/minilm-teacher"]

    spy.calls.clear()
    await converger(spy).converge(seen(*children), replace(plan, keeps_all=True), NOW)
    assert spy.calls == [f"PUT {SELF}/status"]


def refusing(*, version: str | None) -> tuple[Spy, list[str]]:
    """Return a spy whose route refuses patches and has this version; and what is remembered."""

    def trouble(request: Request) -> None:
        if request.verb == "PATCH" and request.kind == HTTP_ROUTE:
            raise errors.Refused("422: denied")

    spy = Spy(trouble)
    if version is not None:
        route = bodies.a_route()
        route["metadata"]["resourceVersion"] = version
        spy.there[f"httproutes/{OWNER.name}"] = route
    return spy, []


async def test_a_weight_that_is_refused_is_reported_with_the_reason() -> None:
    spy, _ = refusing(version="5")

    refused = await converger(spy).converge(seen(), FULL, NOW)

    assert refused.route == "422: denied"
    assert spy.calls[-1] == "POST events"


@pytest.mark.parametrize("version", ["6", None])
async def test_a_route_that_has_moved_on_is_read_again_and_planned_anew(
    version: str | None,
) -> None:
    spy, _ = refusing(version=version)
    remembered: list[str] = []

    def remember(kind: Kind, body: Manifest) -> None:
        if kind == HTTP_ROUTE:
            remembered.append(body["metadata"]["resourceVersion"])

    with pytest.raises(errors.Conflict):
        await converger(spy, remember).converge(seen(), FULL, NOW)

    assert remembered == ([version] if version else [])
    assert spy.calls[-1] == "POST events", "the status has the decision, so it is told"


async def test_our_route_is_made_once_and_never_written_again() -> None:
    spy = Spy()
    route = bodies.a_route()
    plan = Plan(RolloutStatus(message="x"), children=Children(made=(route,)))

    await converger(spy).converge(seen(), plan, NOW)
    assert "POST httproutes" in spy.calls

    spy.calls.clear()
    await converger(spy).converge(seen(route), plan, NOW)
    assert spy.calls == [f"PUT {SELF}/status"]


async def test_without_the_gateway_api_the_refusal_says_so() -> None:
    def trouble(request: Request) -> None:
        if request.kind == HTTP_ROUTE:
            raise errors.Missing("the server could not find the requested resource")

    plan = Plan(RolloutStatus(message="x"), children=Children(made=(bodies.a_route(),)))
    refused = await converger(Spy(trouble)).converge(seen(), plan, NOW)

    assert (
        "Is the Gateway API (gateway.networking.k8s.io/v1) installed?"
        in refused.children[0].message
    )


async def test_the_finalizer_goes_last_and_others_stay() -> None:
    spy = Spy()
    gone = seen(
        finalizers=["else.io/x", ROLLOUT_FINALIZER], deletionTimestamp="2026-11-25T12:00:00Z"
    )
    plan = Plan(RolloutStatus(message="x"), news=(TOLD,))

    await converger(spy).converge(gone, plan, NOW)

    assert spy.calls == [f"PUT {SELF}/status", "POST events", f"PATCH {SELF}"]
    last = spy.requests[-1].body
    assert isinstance(last, dict)
    assert last["metadata"]["finalizers"] == ["else.io/x"]
    assert spy.requests[-1].kind == DISTILLED_ROLLOUT
