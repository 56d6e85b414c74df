"""The route: what it shows, whose weights they are, and the guarded patch."""

from dataclasses import replace
from typing import Any

import pytest
from distill_operator.plan.rollout import traffic
from distill_operator.plan.rollout.memory import Weights
from distill_operator.plan.rollout.model import ObservedBackend, ObservedParent, ObservedRoute
from rollouts import BACKENDS, a_route

LABELS = {
    arm: {
        "type": "RequestHeaderModifier",
        "requestHeaderModifier": {"set": [{"name": "x-model-variant", "value": arm}]},
    }
    for arm in ("teacher", "student")
}


def labelled(route: ObservedRoute) -> ObservedRoute:
    backends = tuple(
        replace(backend, filters=(label,))
        for backend, label in zip(route.backends, LABELS.values(), strict=True)
    )
    return replace(route, backends=backends)


def test_a_patch_tests_what_it_stands_on_and_changes_two_weights():
    found = traffic.edit(labelled(a_route(50)), BACKENDS, 250, owns=True)
    assert found is not None
    assert found.operations == (
        {"op": "test", "path": "/metadata/resourceVersion", "value": "1"},
        {"op": "test", "path": "/spec/rules/0/backendRefs/0/name", "value": "minilm-teacher"},
        {"op": "test", "path": "/spec/rules/0/backendRefs/1/name", "value": "minilm-student"},
        {"op": "add", "path": "/spec/rules/0/backendRefs/0/weight", "value": 750},
        {"op": "add", "path": "/spec/rules/0/backendRefs/1/weight", "value": 250},
    )


def test_only_the_named_rule_is_touched():
    found = traffic.edit(replace(labelled(a_route(50)), rule=3), BACKENDS, 0, owns=True)
    assert found is not None
    paths = {operation["path"] for operation in found.operations}
    assert all(path.startswith(("/metadata/", "/spec/rules/3/backendRefs/")) for path in paths)


def test_backends_keep_their_places():
    route = labelled(a_route(50))
    turned = replace(route, backends=route.backends[::-1])
    found = traffic.edit(turned, BACKENDS, 250, owns=True)
    assert found is not None
    assert found.operations[-1] == {
        "op": "add",
        "path": "/spec/rules/0/backendRefs/0/weight",
        "value": 250,
    }


def test_nothing_is_written_where_the_share_is_right():
    assert traffic.edit(labelled(a_route(50)), BACKENDS, 50, owns=True) is None
    fractions = replace(
        labelled(a_route()),
        backends=(
            ObservedBackend("minilm-teacher", 19, filters=(LABELS["teacher"],)),
            ObservedBackend("minilm-student", 1, filters=(LABELS["student"],)),
        ),
    )
    assert traffic.edit(fractions, BACKENDS, 50, owns=True) is None


def test_two_weights_of_zero_serve_nobody_and_are_written():
    route = labelled(a_route())
    nobody = replace(route, backends=tuple(replace(b, weight=0) for b in route.backends))
    assert traffic.look(nobody, BACKENDS, owns=True).share == 0
    found = traffic.edit(nobody, BACKENDS, 0, owns=True)
    assert found is not None
    assert found.operations[-2]["value"] == 1000


def test_filters_are_added_to_our_own_route_only():
    own = traffic.edit(a_route(50), BACKENDS, 50, owns=True)
    assert own is not None
    assert [o["value"] for o in own.operations[3:]] == [[LABELS["teacher"]], [LABELS["student"]]]
    assert traffic.edit(a_route(50), BACKENDS, 50, owns=False) is None


MISSING: list[tuple[str, dict[str, Any], str]] = [
    ("no such rule", {"rule": None}, "has no rule of that name"),
    ("it is being deleted", {"deleting": True}, "There is no HTTPRoute"),
    (
        "one of ours is gone",
        {"backends": (ObservedBackend("minilm-teacher", 1000),)},
        "no backendRef minilm-student (student)",
    ),
    (
        "one of ours is there twice",
        {
            "backends": (
                ObservedBackend("minilm-teacher", 500),
                ObservedBackend("minilm-student", 1),
                ObservedBackend("minilm-teacher", 500),
            )
        },
        "2 times a backendRef minilm-teacher",
    ),
    (
        "a third one takes part",
        {
            "backends": (
                ObservedBackend("minilm-teacher", 500),
                ObservedBackend("minilm-student", 1),
                ObservedBackend("elsewhere", 500),
            )
        },
        "also sends to elsewhere",
    ),
]


@pytest.mark.parametrize(("why", "change", "words"), MISSING, ids=[case[0] for case in MISSING])
def test_a_route_that_cannot_be_moved(why: str, change: dict[str, Any], words: str):
    route = replace(a_route(50), **change)
    found = traffic.look(route, BACKENDS, owns=True)
    assert found.missing is not None
    assert words in found.missing, why
    assert traffic.edit(route, BACKENDS, 0, owns=True) is None


def parent(**changes: Any) -> ObservedParent:
    return replace(
        ObservedParent("edge", accepted=True, resolved=True, observed_generation=1), **changes
    )


UNREADY: list[tuple[str, tuple[ObservedParent, ...], str | None]] = [
    ("all is well", (parent(),), None),
    ("nobody took it", (), "0 of 1 gateways"),
    ("an old generation", (parent(observed_generation=0),), "has not seen the latest change"),
    ("not accepted", (parent(accepted=False, message="no listener"),), "no listener"),
    ("not resolved", (parent(resolved=False, message="no port"),), "no port"),
    ("not programmed", (parent(programmed=False, message="no address"),), "no address"),
    ("one of two", (parent(), parent(name="second", accepted=False)), "second"),
]


@pytest.mark.parametrize(("why", "parents", "words"), UNREADY, ids=[case[0] for case in UNREADY])
def test_whether_gateways_carry_the_route(
    why: str, parents: tuple[ObservedParent, ...], words: str | None
):
    found = traffic.look(replace(a_route(), parents=parents), BACKENDS, owns=True).unready
    assert (found is None) if words is None else (found is not None and words in found), why


FOREIGN: list[tuple[str, int, Weights, bool]] = [
    ("as decided", 50, Weights(50, previous=0, confirmed=True), False),
    ("our write did not come about", 0, Weights(50, previous=0, confirmed=False), False),
    ("somebody was faster than our write", 900, Weights(50, previous=0, confirmed=False), True),
    ("it was there, and is not any more", 0, Weights(50, previous=0, confirmed=True), True),
]


@pytest.mark.parametrize(
    ("why", "share", "weights", "expected"), FOREIGN, ids=[case[0] for case in FOREIGN]
)
def test_whose_weight_it_is(*, why: str, share: int, weights: Weights, expected: bool):
    sight = traffic.look(a_route(share), BACKENDS, owns=True)
    assert traffic.foreign(sight, weights) is expected, why
