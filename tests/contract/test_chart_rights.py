"""The chart gives the operator the rights that it uses for rollouts: all of them, and no others."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import chart
import pytest
import rollout_bodies as bodies
from distill_api.names import ROLLOUT_FINALIZER, RolloutReason
from distill_api.rollout_status import RolloutStatus
from distill_operator import errors
from distill_operator.effects.cluster import APPLY_PATCH, Request
from distill_operator.effects.kinds import (
    DISTILLATION_JOB,
    DISTILLED_ROLLOUT,
    GATEWAY_SELECTORS,
    HTTP_ROUTE,
    MADE_BY_ROLLOUT,
    ROLLOUT_SELECTORS,
)
from distill_operator.effects.rollout.arms import Arms
from distill_operator.effects.store import Store
from distill_operator.plan.rollout import resolve
from distill_operator.plan.rollout.children import Children
from distill_operator.plan.rollout.model import Arm, Child, RouteEdit
from distill_operator.plan.rollout.news import Tidings
from distill_operator.plan.rollout.resolve import Given
from distill_operator.plan.rollout.rollout import Plan
from distill_operator.render.rollout import arm
from rollout_specs import ARTIFACT, a_spec
from rollout_spy import Spy, a_child, converger, seen
from rollouts import NOW, OWNER, SETTINGS

pytestmark = pytest.mark.skipif(
    chart.helm() is None, reason="needs helm: run `python -m devcluster build`"
)
WATCHED: Final = ROLLOUT_SELECTORS | GATEWAY_SELECTORS
VERBS: Final = {"POST": {"create"}, "PUT": {"update"}, "DELETE": {"delete"}}
ROUTE: Final = Child(HTTP_ROUTE.kind, OWNER.name)

type Right = tuple[str, str, str]
"""API group, resource with its subresource, verb."""


def _rights(request: Request) -> Iterator[Right]:
    """Yield what the API server asks for before it lets a request through."""
    parts = request.path.split("/")
    name, sub, *_ = [*parts[parts.index(request.kind.plural) + 1 :], "", ""]
    resource = f"{request.kind.plural}/{sub}" if sub else request.kind.plural
    verbs = VERBS.get(request.verb, set())
    if request.verb == "GET":
        verbs = {"get"} if name else {"list"}
    elif request.verb == "PATCH":
        # An object that is applied and not there yet is created.
        verbs = {"patch", "create"} if request.content == APPLY_PATCH else {"patch"}
    yield from ((request.kind.group, resource, verb) for verb in verbs)


def _there(request: Request) -> None:
    if request.verb == "POST":
        raise errors.Exists("409")


def _budget() -> dict[str, Any]:
    order = resolve.of(Given(OWNER, a_spec(), ARTIFACT, SETTINGS)).student
    assert order is not None
    return arm.budget(order)


def _a_route() -> dict[str, Any]:
    return bodies.a_route()


async def _used() -> set[Right]:
    """Return the rights behind every call of a converger through a rollout's life."""
    edit = RouteEdit(
        OWNER.name,
        ({"op": "test", "path": "/metadata/resourceVersion", "value": "5"},),
        "5% of minilm to minilm-student",
    )
    whole = Plan(
        status=RolloutStatus(message="new"),
        children=Children(applied=(a_child("service"), _budget(), a_child()), made=(_a_route(),)),
        edit=edit,
        news=(Tidings("Normal", RolloutReason.STEP_DONE, "Progressing step 2"),),
        finalizers=(ROLLOUT_FINALIZER,),
    )
    left = (bodies.a_deployment("teacher"), bodies.a_service("teacher"), _a_route())
    left = (*left, _budget() | {"metadata": left[0]["metadata"]})
    names = tuple(Child(c["kind"], c["metadata"]["name"]) for c in left)
    gone = replace(whole, children=Children(), edit=None)
    kept = replace(whole, children=Children(orphaned=names), edit=None, finalizers=())
    again = Spy(_there)
    again.there = {
        f"httproutes/{OWNER.name}": _a_route(),
        "events/" + (await _event_name(whole)): {"series": {"count": 2}},
    }
    found = set[Right]()
    for spy, there, plan in (
        (Spy(), (), whole),
        (again, (), whole),
        (Spy(), left, gone),
        (Spy(), left, kept),
    ):
        await converger(spy).converge(seen(*there, finalizers=["other"]), plan, NOW)
        found |= {right for request in spy.requests for right in _rights(request)}
    return found | await _looked()


async def _event_name(plan: Plan) -> str:
    spy = Spy()
    await converger(spy).converge(seen(), replace(plan, children=Children(), edit=None), NOW)
    body = next(r.body for r in spy.requests if r.kind.plural == "events")
    assert isinstance(body, dict)
    return str(body["metadata"]["name"])


async def _looked() -> set[Right]:
    """Return the rights behind what is asked beside the watches."""
    spy, store = Spy(), Store(WATCHED)
    spy.there["services/big"] = {"spec": {"selector": {"app": "big"}}}
    spy.there["pods"] = {"items": [], "metadata": {"resourceVersion": "1"}}
    spec = a_spec(teacher={"service": {"name": "big", "port": 8080}})
    await Arms(spy, store).side(OWNER, spec, Arm.TEACHER)
    spy.there[f"distilledmodelrollouts/{OWNER.name}"] = bodies.a_rollout()
    await store.read_again(spy, DISTILLED_ROLLOUT, bodies.a_rollout())
    return {right for request in spy.requests for right in _rights(request)}


@pytest.fixture(scope="module")
def given() -> dict[Right, str]:
    """Return what the chart gives where rollouts are served."""
    objects = chart.render({"rollouts": {"enabled": True}})
    role = chart.only(objects, "ClusterRole", "-serving")
    return {
        (group, resource, verb): role["metadata"]["name"]
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


async def test_every_call_about_a_rollout_is_allowed(given: dict[Right, str]) -> None:
    used = await _used()
    assert len(used) > 15
    assert used - given.keys() == set()


def test_no_rollout_can_start_a_distillation(given: dict[Right, str]) -> None:
    """Whatever alarm comes during a rollout, what it distils is a person's or a pipeline's."""
    about = {verb for group, resource, verb in given if resource == "distillationjobs"}
    assert about >= {"get", "list", "watch"}
    assert not about & {"create", "update"}
    assert DISTILLATION_JOB.kind not in MADE_BY_ROLLOUT


def test_everything_that_is_watched_may_be_listed_and_watched(given: dict[Right, str]) -> None:
    wanted = {(kind.group, kind.plural, verb) for kind in WATCHED for verb in ("list", "watch")}
    assert wanted - given.keys() == set()


async def test_nothing_is_allowed_about_rollouts_that_is_not_used(given: dict[Right, str]) -> None:
    used = await _used()
    used |= {(k.group, k.plural, verb) for k in WATCHED for verb in ("get", "list", "watch")}
    # Asked for where an admission plugin looks at who sets owner references.
    used.add(("kubedistill.io", "distilledmodelrollouts/finalizers", "update"))
    of_rollouts = {"distilledmodelrollouts", "deployments", "services", "endpointslices"}
    of_rollouts |= {"httproutes", "gateways", "poddisruptionbudgets"}
    about = {right for right in given if right[1].split("/")[0] in of_rollouts}
    assert len(about) > 20
    assert about - used == set()
