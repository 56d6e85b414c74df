"""Copies of users' requests between real servers: from what a gateway posts to what is judged."""

import asyncio
import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import aiohttp
import httpx
import pytest
from distill_api.probing import PROBE_HEADER, Pairs
from distill_api.rollout_metrics import Measure, Metric, Quality, QuerySource
from distill_operator.effects.rollout import scrape
from distill_operator.effects.rollout.prober import Probe
from distill_operator.plan.rollout.evidence import Position
from distill_operator.plan.rollout.model import ObservedMetrics
from distill_server.prober.mirror import MOST_BYTES, Fate
from probers import Process, World
from tiny_models import WORDS

MIRRORED: Final = "Mirrored"
FLAGS: Final = ("--mirrored-measure", "agreement=nDCG@10")
HELD_OUT: Final = Metric(name="ndcg", quality=Quality())
AGREEMENT: Final = Metric(
    name="agreement", quality=Quality(source=QuerySource.MIRRORED, measure=Measure.NDCG_10)
)


def texts(count: int) -> list[str]:
    """Return distinct queries of two words that the tiny models know."""
    found = [f"{one} {other}" for one, other in itertools.combinations(WORDS, 2)]
    return found[:: len(found) // count][:count]


def copied(url: str, bodies: Sequence[object], path: str = "/v1/embeddings") -> None:
    """Post copies as a gateway does: it only looks at whether they were taken in."""
    with httpx.Client(base_url=url, headers={"x-request-id": "of-a-gateway"}) as gateway:
        for body in bodies:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            assert gateway.post(path, content=content).status_code == 204


def fates(url: str) -> dict[str, int]:
    page = httpx.get(f"{url}/metrics").text
    found = re.findall(r'distill_prober_mirrored_requests_total{fate="(\w+)"} (\S+)', page)
    return {fate: int(float(count)) for fate, count in found}


def ready(process: Process) -> str:
    """Wait until users' queries are numbered."""
    process.until(0, MIRRORED)
    return process.url


def looked(url: str, positions: dict[str, Position] | None = None) -> ObservedMetrics:
    """Look as the operator does."""

    async def look() -> ObservedMetrics:
        metrics, probe = (HELD_OUT, AGREEMENT), Probe("prober-0", url)
        wanted = scrape.Wanted("team", (), metrics, probe=probe, positions=positions or {})
        async with aiohttp.ClientSession() as session:
            return await scrape.look(session, wanted)

    return asyncio.run(look())


def mean(found: Pairs, arm: int) -> float:
    pairs = found.scores["agreement"]
    return sum(pair[arm] for pair in pairs) / len(pairs)


@pytest.mark.slow
def test_users_queries_bring_pairs_and_a_student_that_is_the_teacher_agrees_with_it(
    world: World, started: list[Process], tmp_path: Path
):
    started.append(Process(tmp_path / "log", *world.flags(world.good.url, *FLAGS)))
    url, asked = ready(started[0]), texts(40)
    nobody = looked(url)
    assert nobody.problems == {}, "that nobody asks is no outage"
    assert [score.numbers for score in nobody.scores if score.metric == "agreement"] == [()]
    copied(url, [{"model": "tiny", "input": text} for text in asked[:20]])
    copied(url, [{"model": "tiny", "input": [text]} for text in asked[20:]])
    found = started[0].until(40, MIRRORED)
    assert found.numbers == list(range(1, 41))
    assert found.scores == {"agreement": [(1.0, 1.0)] * 40}
    seen = looked(url)
    apart = {score.metric: score for score in seen.scores}
    assert seen.problems == {}
    assert apart["agreement"].numbers == tuple(range(1, 41))
    assert apart["ndcg"].probe_uid != apart["agreement"].probe_uid
    assert apart["ndcg"].numbers == tuple(range(1, len(apart["ndcg"].numbers) + 1))
    position = {"agreement": Position(apart["agreement"].probe_uid, 40)}
    copied(url, [{"input": "a1 b2 c3"}])
    started[0].until(41, MIRRORED)
    later = {score.metric: score for score in looked(url, position).scores}
    assert later["agreement"].numbers == (41,)


@pytest.mark.slow
def test_a_spoilt_student_agrees_less_and_the_teacher_always_with_itself(
    world: World, started: list[Process], tmp_path: Path
):
    started.append(Process(tmp_path / "log", *world.flags(world.bad.url, *FLAGS)))
    copied(ready(started[0]), [{"input": text} for text in texts(40)])
    found = started[0].until(40, MIRRORED)
    assert found.numbers == list(range(1, 41))
    assert mean(found, 1) == 1.0
    assert mean(found, 0) < 0.7


@pytest.mark.slow
def test_what_is_no_query_is_counted_and_brings_no_pair(
    world: World, started: list[Process], tmp_path: Path
):
    started.append(Process(tmp_path / "log", *world.flags(world.good.url, *FLAGS)))
    url = ready(started[0])
    one = {"input": "a1 b2"}
    copied(url, [one, one, {"input": ["a1 b2"]}])
    copied(url, [{"input": ["a1", "b2"]}, {"input": [1, 2]}, b"\xff none", b"[" * 100_000])
    copied(url, [{"input": "a" * MOST_BYTES}])
    copied(url, [{"input": "a vote"}], path="/v1/feedback")
    headers = {PROBE_HEADER: "true"}
    assert httpx.post(f"{url}/v1/embeddings", json={"input": "c3"}, headers=headers).is_success
    assert httpx.get(f"{url}/v1/models").status_code == 204
    assert fates(url) == {
        Fate.TAKEN: 1,
        Fate.REPEATED: 2,
        Fate.UNREADABLE: 7,
        Fate.PROBE: 1,
        Fate.DROPPED: 0,
        Fate.ENOUGH: 0,
    }
    assert started[0].until(1, MIRRORED).numbers == [1]


@pytest.mark.slow
def test_more_than_was_asked_for_is_not_sent(world: World, started: list[Process], tmp_path: Path):
    slow = ("--queries-per-minute", "60", "--max-queries", "70", *FLAGS)
    started.append(Process(tmp_path / "log", *world.flags(world.good.url, *slow)))
    url = ready(started[0])
    copied(url, [{"input": text} for text in texts(90)])
    found = fates(url)
    assert found["taken"] + found["dropped"] + found["enough"] == 90
    assert 64 <= found["taken"] <= 70
    assert started[0].until(1, MIRRORED).queries == 70


@pytest.mark.slow
def test_what_users_ask_is_in_no_log_no_page(world: World, started: list[Process], tmp_path: Path):
    secret = "my doctor says f5"  # noqa: S105 - a user's, not ours
    started.append(Process(tmp_path / "log", *world.flags(world.good.url, *FLAGS)))
    url = ready(started[0])
    copied(url, [{"input": secret}, {"input": secret, "unfinished": 1}])
    copied(url, [f'{{"input": "{secret}'.encode()])
    started[0].until(1, MIRRORED)
    pages = "".join(
        httpx.get(f"{url}{page}").text for page in ("/metrics", "/pairs", "/pairs?source=Mirrored")
    )
    seen = repr(looked(url))
    assert started[0].stop() == 0
    log = started[0].log.read_text()
    assert "run " in log
    assert "agreement" in seen
    assert "doctor" not in log + pages + seen


@pytest.mark.slow
def test_a_prober_that_starts_again_names_a_new_run_of_users_queries_and_no_other(
    world: World, started: list[Process], tmp_path: Path
):
    runs: list[tuple[str, str]] = []
    for log in ("one", "two"):
        started.append(Process(tmp_path / log, *world.flags(world.good.url, *FLAGS)))
        users = started[-1].until(0, MIRRORED)
        runs.append((started[-1].until(0).run, users.run))
        started[-1].stop()
    (held_out, users), (held_out_again, users_again) = runs
    assert held_out == held_out_again
    assert users != users_again


@pytest.mark.slow
def test_without_a_metric_of_users_queries_no_copy_is_taken_in(
    world: World, started: list[Process], tmp_path: Path
):
    started.append(Process(tmp_path / "log", *world.flags(world.good.url)))
    started[0].until(1)
    answer = httpx.post(f"{started[0].url}/v1/embeddings", json={"input": "a1"})
    assert answer.status_code == 404
