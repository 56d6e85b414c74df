"""Prober, servers and operator together: a real prober between two real servers, and the planner.

Models are tiny and real. The reading is the operator's own, and so is the judgement.
"""

import asyncio
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiohttp
import httpx
import pytest
from distill_api.data import DataSource
from distill_api.probing import Protocol
from distill_api.rollout_metrics import Metric as WantedMetric
from distill_api.rollout_metrics import OnRegression, Quality
from distill_api.rollout_policies import Prober
from distill_operator.effects.rollout import scrape
from distill_operator.effects.rollout.prober import Probe
from distill_operator.plan.rollout import evidence
from distill_operator.plan.rollout.evidence import Epoch, Evidence, Position
from distill_operator.plan.rollout.model import ObservedMetrics
from distill_operator.plan.rollout.policy import Metric, Policy
from distill_operator.render.order import Owner
from distill_operator.render.rollout import prober as rendering
from distill_operator.render.rollout.order import ProberOrder
from distill_operator.statistics import quality
from distill_operator.statistics.verdict import Verdict
from distill_server.prober.settings import Settings
from probers import QUERIES, Process, World
from pydantic_settings import CliApp
from rollouts import POLICY

NOW: Final = datetime(2026, 11, 25, 12, tzinfo=UTC)
NDCG: Final = WantedMetric(name="ndcg", quality=Quality())
RULE: Final = quality.Rule("ndcg", "nDCG@10", fine=0.98, limit=0.95, alpha=0.01, beta=0.05)


def looked(url: str, positions: dict[str, Position] | None = None) -> ObservedMetrics:
    """Look as the operator does."""

    async def look() -> ObservedMetrics:
        async with aiohttp.ClientSession() as session:
            wanted = scrape.Wanted(
                "team", (), (NDCG,), probe=Probe("prober-0", url), positions=positions or {}
            )
            return await scrape.look(session, wanted)

    return asyncio.run(look())


def judged(before: Evidence, seen: ObservedMetrics) -> tuple[Verdict, Evidence]:
    """Take a look in and judge it as the planner does."""
    policy = _policy()
    taken = evidence.take(before, seen, policy, Epoch(NOW, frozenset()), now=NOW)
    ((_, finding),), after = evidence.judge(taken, policy, read=True, per_second=None)
    return finding.verdict, after


def _policy() -> Policy:
    return replace(POLICY, metrics=(Metric(RULE, OnRegression.ROLLBACK),))


@pytest.mark.slow
def test_a_worse_student_is_told_from_the_teacher(
    world: World, started: list[Process], tmp_path: Path
):
    started.append(Process(tmp_path / "log", *world.flags(world.bad.url)))
    pairs = started[0].until(QUERIES)
    seen = looked(started[0].url)
    verdict, after = judged(Evidence(), seen)
    sums = after.qualities["ndcg"].sums
    assert seen.problems == {}
    assert sums.pairs == QUERIES == len(pairs.numbers)
    assert sums.teacher / sums.pairs > 0.3
    assert sums.student < 0.6 * sums.teacher
    assert verdict is Verdict.REGRESSED
    assert started[0].stop() == 0


@pytest.mark.slow
def test_a_student_as_good_as_its_teacher_is_never_blamed_and_heads_for_its_proof(
    world: World, started: list[Process], tmp_path: Path
):
    started.append(Process(tmp_path / "log", *world.flags(world.good.url)))
    url = started[0].url
    started[0].until(20)
    first = looked(url)
    _, some = judged(Evidence(), first)
    started[0].until(QUERIES)
    positions = dict(some.positions)
    verdict, after = judged(some, looked(url, positions))
    state = after.qualities["ndcg"]
    assert 20 <= some.qualities["ndcg"].sums.pairs < QUERIES
    assert state.sums.pairs == QUERIES
    assert state.sums.student == pytest.approx(state.sums.teacher)
    assert state.holds.log_wealth > some.qualities["ndcg"].holds.log_wealth > 0
    assert state.fell.log_wealth < 0
    assert verdict is not Verdict.REGRESSED
    # All queries have been sent, and again they bring no evidence.
    _until_repeated(url)
    again = looked(url, dict(after.positions))
    assert judged(after, again)[1].qualities["ndcg"].sums.pairs == QUERIES


def _until_repeated(url: str) -> None:
    ends = time.monotonic() + 300
    while not re.search(
        r'distill_prober_repeats_total{metric="ndcg"} [1-9]', httpx.get(f"{url}/metrics").text
    ):
        assert time.monotonic() < ends
        time.sleep(0.1)


@pytest.mark.slow
def test_a_prober_that_starts_again_brings_the_same_pairs_and_none_counts_twice(
    world: World, started: list[Process], tmp_path: Path
):
    started.append(Process(tmp_path / "one", *world.flags(world.good.url)))
    first = started[0].until(QUERIES)
    _, before = judged(Evidence(), looked(started[0].url))
    started[0].process.kill()
    started.append(Process(tmp_path / "two", *world.flags(world.good.url)))
    second = started[1].until(QUERIES)
    assert (second.run, second.numbers) == (first.run, first.numbers)
    for one, other in zip(first.scores["ndcg"], second.scores["ndcg"], strict=True):
        assert other == pytest.approx(one)
    _, after = judged(before, looked(started[1].url))
    assert after.qualities["ndcg"].sums.pairs == QUERIES


@pytest.mark.slow
def test_the_probers_requests_are_no_users_of_the_servers(world: World):
    for server in (world.teacher, world.good, world.bad):
        page = httpx.get(f"{server.url}/metrics").text
        users, probes = (
            sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(name))
            for name in ("distill_server_requests_total", "distill_server_probe_requests_total")
        )
        assert users == 0
        assert probes > QUERIES


@pytest.mark.slow
def test_an_arm_that_is_away_is_told_and_scores_nothing(
    world: World, started: list[Process], tmp_path: Path
):
    started.append(Process(tmp_path / "log", *world.flags("http://127.0.0.1:1")))
    url = started[0].url
    ends = time.monotonic() + 300
    while "the student gave no answer" not in (why := looked(url).problems["ndcg"]):
        assert time.monotonic() < ends, why
        time.sleep(0.2)
    assert "pod prober-0 of the prober" in why
    assert httpx.get(f"{url}/healthz").status_code == 200
    assert judged(Evidence(), looked(url))[0] is Verdict.NO_DATA
    reason = 'distill_prober_failures_total{arm="student",reason="unreachable"} '
    assert reason in httpx.get(f"{url}/metrics").text


def test_no_prober_and_no_answer_are_problems_and_no_numbers():
    async def look(probe: Probe | None) -> ObservedMetrics:
        async with aiohttp.ClientSession() as session:
            return await scrape.look(session, scrape.Wanted("team", (), (NDCG,), probe=probe))

    nobody = asyncio.run(look(None))
    away = asyncio.run(look(Probe("prober-0", "http://127.0.0.1:1")))
    assert nobody.problems == {"ndcg": "no pod of the prober runs yet"}
    assert "pod prober-0 of the prober" in away.problems["ndcg"]
    assert nobody.scores == away.scores == ()


def test_the_prober_understands_every_flag_of_its_pod():
    order = ProberOrder(
        owner=Owner("team", "search", "u"),
        name="search-prober",
        prober=Prober(
            queries=DataSource(uri="pvc://held-out/rows.csv", format="CSV"), documents=50
        ),
        image="server",
        component="Reranker",
        teacher_url="http://search-teacher:8080",
        student_url="http://search-student:8080",
        served_name="search",
        measures=(("ndcg", "nDCG@10"), ("found", "R@10")),
        student_protocol=Protocol.OPEN_INFERENCE,
    )
    container = rendering.deployment(order)["spec"]["template"]["spec"]["containers"][0]
    found = CliApp.run(Settings, cli_args=container["args"])
    assert container["command"] == ["python", "-m", "distill_server.prober"]
    assert found.measure == {"ndcg": "nDCG@10", "found": "R@10"}
    assert (found.component, found.searched, found.max_queries) == ("Reranker", 50, 1000)
    assert (found.teacher_url, found.student_url) == (order.teacher_url, order.student_url)
    assert found.source == order.prober.queries
    assert (found.teacher_protocol, found.student_protocol) == ("OpenAI", "OpenInference")
    assert found.columns == order.prober.columns
    assert (found.model, found.port) == ("search", 8080)
    assert (found.queries_per_minute, found.timeout_seconds) == (60, 10)
