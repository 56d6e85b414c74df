"""What the API server has decides what is watched, also when it comes later."""

import asyncio

import pytest
from distill_operator import errors
from distill_operator.effects import installed
from distill_operator.effects.cluster import Cluster, Request
from distill_operator.effects.kinds import GATEWAY_SELECTORS, ROLLOUT_SELECTORS, SELECTORS, Kind
from distill_operator.effects.watches import Scope
from distill_operator.plan.model import Manifest

EVERYTHING = ROLLOUT_SELECTORS | GATEWAY_SELECTORS


class Served(Cluster):
    """Answers lists of some kinds; others are not there or not ours to read."""

    def __init__(self, missing: set[str], forbidden: set[str]) -> None:
        self.missing, self.forbidden = missing, forbidden
        self.asked: list[str] = []
        self.silent = 0
        """Calls that get no answer."""
        self.told = {"major": "1", "minor": "36", "gitVersion": "v1.36.0"}

    async def _call(self, request: Request) -> Manifest:
        self.asked.append(request.path)
        if self.silent:
            self.silent -= 1
            raise errors.NotYet("no answer")
        if request.path == "/version":
            return dict(self.told)
        if request.kind.plural in self.missing:
            raise errors.Missing("404")
        if request.kind.plural in self.forbidden:
            raise errors.Refused("403")
        return {}


@pytest.mark.parametrize(
    ("missing", "forbidden", "expected"),
    [
        (set(), set(), EVERYTHING),
        ({"distilledmodelrollouts"}, set(), SELECTORS),
        (set(), {"distilledmodelrollouts"}, SELECTORS),
        (set(), {"endpointslices"}, SELECTORS),
        ({"httproutes", "gateways"}, set(), ROLLOUT_SELECTORS),
        (set(), {"gateways"}, ROLLOUT_SELECTORS),
    ],
)
async def test_what_is_watched_is_what_is_there_and_may_be_read(
    missing: set[str], forbidden: set[str], expected: dict[Kind, str]
) -> None:
    asks = Served(missing, forbidden)
    found = await installed.look(asks, ("team-a",))

    assert found.scope.selectors == expected
    assert found.scope.namespaces == ("team-a",)
    assert all("/namespaces/team-a/" in path for path in asks.asked[:-1])
    assert bool(found.lacking) is (expected != EVERYTHING)


async def test_what_lacks_is_said() -> None:
    found = await installed.look(Served({"httproutes"}, set()), ())
    assert found.lacking == (
        "rollouts wait for the Gateway API: httproutes (gateway.networking.k8s.io/v1) are not"
        " installed in this cluster"
    )
    found = await installed.look(Served(set(), {"gateways"}), ())
    assert "the operator may not read gateways (403)" in found.lacking


async def test_without_jobs_the_operator_does_not_start() -> None:
    with pytest.raises(errors.BadSettings, match="apply the folder crds/ first"):
        await installed.look(Served({"distillationjobs"}, set()), ())


async def test_what_is_installed_later_is_found_and_a_silent_server_changes_nothing() -> None:
    asks = Served({"distilledmodelrollouts"}, {"gateways"})
    known = await installed.look(asks, ("team-a",), image_volumes=False)
    waiting = asyncio.create_task(installed.grown(asks, known, every=0.001))
    await asyncio.sleep(0.02)
    assert not waiting.done()

    asks.silent = 3
    asks.missing.clear()
    first = await asyncio.wait_for(waiting, 5)
    assert first.scope == Scope(("team-a",), ROLLOUT_SELECTORS)
    assert "may not read gateways" in first.lacking
    assert not first.image_volumes, "what a person decided stays decided"

    asks.forbidden.clear()
    second = await asyncio.wait_for(installed.grown(asks, first, every=0.001), 5)
    assert (second.scope.selectors, second.lacking) == (EVERYTHING, "")


async def test_where_everything_is_there_nobody_asks_again() -> None:
    asks = Served(set(), set())
    known = await installed.look(asks, ())
    asks.asked.clear()
    waiting = asyncio.create_task(installed.grown(asks, known, every=0.001))
    await asyncio.sleep(0.02)
    assert (waiting.done(), asks.asked) == (False, [])
    waiting.cancel()


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"major": "1", "minor": "34"}, False),
        ({"major": "1", "minor": "35"}, True),
        ({"major": "1", "minor": "35+"}, True),
        ({"major": "1", "minor": "9"}, False),
        ({"major": "2", "minor": "0"}, True),
        ({}, True),
    ],
)
async def test_image_volumes_are_told_by_the_version(
    told: dict[str, str], *, expected: bool
) -> None:
    asks = Served(set(), set())
    asks.told = told
    assert (await installed.look(asks, ())).image_volumes is expected
    for decided in (True, False):
        assert (await installed.look(asks, (), image_volumes=decided)).image_volumes is decided
