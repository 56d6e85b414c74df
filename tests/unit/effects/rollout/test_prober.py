"""Pairs of the prober: each source is asked for once, from where its own metrics stand."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import aiohttp
import pages
import pytest
from aiohttp import web
from distill_api.names import Label
from distill_api.probing import Pairs
from distill_api.rollout_metrics import Metric, Quality, QuerySource
from distill_operator.effects.rollout import prober
from distill_operator.effects.rollout.prober import Found, Probe
from distill_operator.plan.rollout.evidence import Position

HELD_OUT: Final = Metric(name="ndcg", quality=Quality())
USERS: Final = tuple(
    Metric(name=name, quality=Quality(source=QuerySource.MIRRORED)) for name in ("agree", "first")
)
KNOWN: Final = {"agree": Position("users", 2), "first": Position("users", 2)}


class Told:
    """A prober's page that says what a test wants, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, str]] = []
        self.failing: str | None = None
        self.users_status = 200

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        mirrored = request.query.get("source") == "Mirrored"
        if mirrored and self.users_status != 200:
            return web.Response(status=self.users_status, text="no pairs yet")
        names = ("agree", "first") if mirrored else ("ndcg",)
        told = Pairs(
            run="users" if mirrored else "held-out",
            total=3,
            queries=9,
            numbers=[1, 3],
            scores={name: [(0.5, 1.0), (1.0, 1.0)] for name in names},
            failing=self.failing if mirrored else None,
        )
        return web.Response(text=told.model_dump_json(by_alias=True))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def url(told: Told) -> AsyncIterator[str]:
    async with pages.served(web.get("/pairs", told.answer)) as address:
        yield address


async def look(
    url: str, *metrics: Metric, positions: Mapping[str, Position] | None = None
) -> Found:
    async with aiohttp.ClientSession() as session:
        return await prober.look(session, Probe("prober-0", url), metrics, positions or {})


async def test_each_source_is_asked_once_and_numbered_apart(told: Told, url: str):
    found = await look(url, HELD_OUT, *USERS)
    assert told.asked == [{}, {"source": "Mirrored"}]
    assert {score.metric: score.probe_uid for score in found.scores} == {
        "ndcg": "held-out",
        "agree": "users",
        "first": "users",
    }
    assert {score.numbers for score in found.scores} == {(1, 3)}
    assert {score.total for score in found.scores} == {3}
    assert found.problems == {}


async def test_users_queries_are_asked_for_from_where_they_stand(told: Told, url: str):
    known = {"ndcg": Position("held-out", 7), **KNOWN}
    await look(url, HELD_OUT, *USERS, positions=known)
    assert told.asked == [
        {"after": "7", "run": "held-out"},
        {"source": "Mirrored", "after": "2", "run": "users"},
    ]


async def test_metrics_that_stand_apart_are_handed_everything(told: Told, url: str):
    await look(url, *USERS, positions={"agree": Position("users", 2)})
    assert told.asked == [{"source": "Mirrored"}]


async def test_what_fails_with_users_queries_is_no_problem_of_the_held_out_ones(
    told: Told, url: str
):
    told.failing = "the teacher gave no answer"
    found = await look(url, HELD_OUT, *USERS)
    assert found.problems == dict.fromkeys(("agree", "first"), "the teacher gave no answer")
    assert len(found.scores) == 3


async def test_a_source_that_has_no_pairs_yet_leaves_those_of_the_other(told: Told, url: str):
    told.users_status = 503
    found = await look(url, HELD_OUT, *USERS)
    assert [score.metric for score in found.scores] == ["ndcg"]
    assert found.problems.keys() == {"agree", "first"}
    assert "pod prober-0 of the prober" in found.problems["agree"]
    assert "no pairs yet" in found.problems["agree"]


def a_pod(name: str, created: str, **changes: Any) -> dict[str, Any]:
    meta = {"name": name, "creationTimestamp": created, "labels": {Label.COMPONENT: "prober"}}
    ports = [{"name": "http", "containerPort": 8080}]
    return {
        "metadata": meta | changes,
        "spec": {"containers": [{"ports": ports}]},
        "status": {"podIP": "10.0.0.7"},
    }


def test_the_newest_prober_that_runs_is_asked_and_no_pod_of_an_arm():
    old, new = a_pod("old", "2026-11-25T12:00:00Z"), a_pod("new", "2026-11-25T12:01:00Z")
    going = a_pod("going", "2026-11-25T12:02:00Z", deletionTimestamp="2026-11-25T12:03:00Z")
    arm = a_pod("arm", "2026-11-25T12:04:00Z", labels={Label.COMPONENT: "student"})
    assert prober.probe([old, new, going, arm]) == Probe("new", "http://10.0.0.7:8080")
    assert prober.probe([going, arm]) is None
