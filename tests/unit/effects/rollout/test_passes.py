"""A pass sees, decides and acts; the operator serves rollouts only where it can."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
import rollout_bodies as bodies
from distill_api.names import ROLLOUT_FINALIZER, RolloutPhase
from distill_operator import errors
from distill_operator.effects.cluster import Cluster, Request
from distill_operator.effects.kinds import (
    DISTILLATION_JOB,
    DISTILLED_ROLLOUT,
    ENDPOINT_SLICE,
    HTTP_ROUTE,
    ROLLOUT_SELECTORS,
    Kind,
)
from distill_operator.effects.rollout import artifact, observe
from distill_operator.effects.rollout.converge import RolloutConverger
from distill_operator.effects.rollout.scrapes import Scrapes
from distill_operator.effects.rollout.tokens import TokenChecks
from distill_operator.effects.store import Store
from distill_operator.handlers.rollouts import Hands, RolloutReconciler
from distill_operator.plan.model import Manifest
from distill_operator.plan.rollout import record
from distill_operator.plan.rollout import rollout as planning
from distill_operator.plan.rollout.course import State
from distill_operator.plan.rollout.memory import Memory, Transition, Weights
from distill_operator.plan.rollout.model import Settings
from distill_operator.plan.rollout.rollout import Observed
from rollouts import BACKENDS, OWNER

SETTINGS: Final = Settings(server_image="server", prober_image="server")
NS: Final = f"/namespaces/{OWNER.namespace}/"
STATUS: Final = f"PUT distilledmodelrollouts/{OWNER.name}/status"
ROUTE: Final = f"PATCH httproutes/{OWNER.name}"


class Api(Cluster):
    """Answers writes as the API server would, into the store, as watches do; notes each call."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.calls: list[str] = []
        self.patches: list[Manifest] = []
        self.conflict = False
        self.refuses: str | None = None
        """Kind that an admission plugin does not let pass."""

    def _fence(self) -> None:
        """Allow every write."""

    async def _call(self, request: Request) -> Manifest:
        path = request.path.rpartition(NS)[2]
        self.calls.append(f"{request.verb} {path}")
        known = self.store.named(request.kind, OWNER.namespace, path.split("/")[-1])
        if request.verb == "GET":
            if request.kind == DISTILLED_ROLLOUT:
                fresh = bodies.a_rollout()
                fresh["metadata"]["resourceVersion"] = "77"
                return fresh
            if known is None:
                raise errors.Missing(path)
            return known
        if request.verb == "PUT" and self.conflict:
            raise errors.Conflict("modified")
        if request.kind.kind == self.refuses:
            raise errors.Refused("violates PodSecurity")
        if isinstance(request.body, list | tuple):
            self.patches += request.body
        body = request.body if isinstance(request.body, dict) else {}
        old = known or self.store.get(request.kind, OWNER.uid) or {}
        name = body.get("metadata", {}).get("name", path.split("/")[-1])
        made = {"uid": f"uid-of-{path}", "namespace": OWNER.namespace, "name": name}
        made |= old.get("metadata", {}) | body.get("metadata", {})
        return old | body | {"metadata": made | {"resourceVersion": str(100 + len(self.calls))}}


class Room:
    """A reconciler over a store."""

    def __init__(self, store: Store, *, unroutable: str | None = None) -> None:
        self.store = store
        self.api = Api(store)

        def remember(kind: Kind, body: Manifest) -> None:
            store.put(kind, body)

        self.scrapes, self.tokens = Scrapes(lambda _: None), TokenChecks(lambda _: None)
        converger = RolloutConverger(self.api, remember, reporter="test")
        hands = Hands(self.api, store, converger, self.scrapes, self.tokens)
        self.reconciler = RolloutReconciler(hands, SETTINGS, unroutable=unroutable)

    async def close(self) -> None:
        await self.scrapes.close()
        await self.tokens.close()

    @property
    def status(self) -> Manifest:
        body = self.store.get(DISTILLED_ROLLOUT, OWNER.uid)
        assert body is not None
        return dict(body["status"])


def the_job() -> Manifest:
    uri = "oci://registry.local/minilm@sha256:" + "a" * 64
    found = {"uri": uri, "digest": "sha256:" + "c" * 64}
    spec = {"teacher": {"model": {"uri": "oci://registry.local/teacher@sha256:" + "b" * 64}}}
    return {"metadata": bodies.meta("minilm"), "spec": spec, "status": {"artifact": found}}


def a_room(*, route_kinds: bool = True) -> Room:
    kinds = bodies.KINDS if route_kinds else tuple(ROLLOUT_SELECTORS)
    store = Store(kinds)
    for kind in kinds:
        for body in bodies.a_world().all(kind):
            store.put(kind, body)
    store.put(DISTILLATION_JOB, the_job())
    return Room(store, unroutable=None if route_kinds else "httproutes are not installed")


def a_serving_room(share: int = 50) -> Room:
    """Return a room whose rollout has confirmed a share of the traffic in its first step."""
    room = a_room()
    body = bodies.a_rollout()
    seen = observe.rollout(body)
    assert seen.spec is not None
    found = artifact.look(seen.spec, OWNER.namespace, room.store)
    wanted = planning.wanted_by(Observed(seen, artifact=found), SETTINGS)
    assert wanted is not None
    memory = Memory(
        transition=Transition(id=3, before=RolloutPhase.PREPARING, after=RolloutPhase.PROGRESSING),
        weights=Weights(desired=share, previous=0, confirmed=True),
        revision=wanted.revision,
        began=datetime.now(UTC),
    )
    status = seen.status.model_copy(update={"record": record.dump(State(memory))})
    body["status"] = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    body["metadata"] |= {"resourceVersion": "6", "finalizers": [ROLLOUT_FINALIZER]}
    room.store.put(DISTILLED_ROLLOUT, body)
    route = bodies.a_route(student=share)
    route["metadata"]["resourceVersion"] = "6"
    room.store.put(HTTP_ROUTE, route)
    return room


async def test_a_new_rollout_is_accepted_and_its_arms_are_made() -> None:
    room = a_room()

    again = await room.reconciler.turn(OWNER.uid)

    assert room.status["phase"] == "Preparing"
    assert again is not None
    written = room.api.calls.index(STATUS)
    assert written < room.api.calls.index("PATCH deployments/minilm-student")
    assert {c for c in room.api.calls if "httproutes" in c} == set(), "there already, as wanted"
    await room.close()


async def test_a_student_without_endpoints_is_at_weight_zero_after_one_pass() -> None:
    room = a_serving_room()
    room.store.put(ENDPOINT_SLICE, bodies.a_slice(BACKENDS.student, False, False, version=9))

    await room.reconciler.turn(OWNER.uid)

    weights = {p["path"]: p["value"] for p in room.api.patches if p["op"] == "add"}
    backends = "/spec/rules/0/backendRefs"
    assert weights == {f"{backends}/0/weight": 1000, f"{backends}/1/weight": 0}
    assert room.api.calls.index(STATUS) < room.api.calls.index(ROUTE)
    await room.close()


async def test_a_rollout_that_serves_is_measured_and_one_that_is_gone_is_not() -> None:
    room = a_serving_room()
    await room.reconciler.turn(OWNER.uid)
    assert room.reconciler.knows(OWNER.uid)
    tasks = [t.get_name() for t in asyncio.all_tasks()]
    assert f"scrape {OWNER.uid}" in tasks
    assert [name for name in tasks if name.startswith("tokens ")], "the student's pods are asked"

    room.store.drop(DISTILLED_ROLLOUT, bodies.a_rollout())
    assert await room.reconciler.turn(OWNER.uid) is None
    assert not room.reconciler.knows(OWNER.uid)
    await room.close()


async def test_after_a_conflict_the_rollout_is_read_again() -> None:
    room = a_room()
    room.api.conflict = True

    with pytest.raises(errors.Conflict):
        await room.reconciler.turn(OWNER.uid)

    body = room.store.get(DISTILLED_ROLLOUT, OWNER.uid)
    assert body is not None
    assert int(body["metadata"]["resourceVersion"]) >= 77
    assert not [c for c in room.api.calls if "deployments" in c]


async def test_a_refused_child_is_a_condition_in_the_words_of_the_api_server() -> None:
    room = a_room()
    room.api.refuses = "Deployment"

    assert await room.reconciler.turn(OWNER.uid) == timedelta(), "the plan has to hear of it"
    await room.reconciler.turn(OWNER.uid)

    said = {c["type"]: c for c in room.status["conditions"]}["ChildrenApplied"]
    assert (said["status"], said["reason"]) == ("False", "ChildRefused")
    assert said["message"].startswith("The API server refused Deployment minilm-")
    assert said["message"].endswith("violates PodSecurity")
    room.api.refuses = None
    other = Room(room.store)
    await other.reconciler.turn(OWNER.uid)
    kept = {c["type"]: c for c in room.status["conditions"]}["ChildrenApplied"]
    assert kept == said, "a new operator has not tried yet, and knows no better"
    await other.close()
    await room.close()


async def test_without_the_gateway_api_a_rollout_waits_and_says_why() -> None:
    room = a_room(route_kinds=False)

    await room.reconciler.turn(OWNER.uid)
    await room.close()

    assert room.status["phase"] == "Pending"
    assert "httproutes are not installed" in room.status["message"]
