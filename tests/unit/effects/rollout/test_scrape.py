"""Counters are read from real pages over HTTP; what is missing is said, and never zero."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
import pages
import pytest
from aiohttp import web
from distill_api.probing import Pairs
from distill_api.rollout_arms import Runtime
from distill_api.rollout_metrics import (
    Cost,
    Custom,
    Errors,
    Latency,
    Metric,
    Quality,
    QuerySource,
    Signal,
)
from distill_api.rollout_policies import Prometheus
from distill_operator.effects.rollout import fetch, scrape
from distill_operator.effects.rollout.prober import Probe
from distill_operator.effects.rollout.scrape import Target, Wanted
from distill_operator.plan.rollout.model import Arm, ObservedMetrics
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

NOW: Final = datetime(2026, 11, 25, 12, tzinfo=UTC)
ERRORS: Final = Metric(name="errors", errors=Errors())
LATENCY: Final = Metric(name="latency-p95", latency=Latency())
VLLM: Final = """\
# TYPE http_requests_total counter
http_requests_total{handler="/v1/completions",method="POST",status="2xx"} 90.0
http_requests_total{handler="/v1/completions",method="POST",status="5xx"} 3.0
http_requests_total{handler="/health",method="GET",status="2xx"} 500.0
# TYPE vllm:request_success_total counter
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 88.0
vllm:request_success_total{engine="0",finished_reason="abort",model_name="m"} 4.0
vllm:request_success_total{engine="0",finished_reason="error",model_name="m"} 2.0
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1",model_name="m"} 70.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.25",model_name="m"} 85.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="m"} 92.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="m"} 92.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="m"} 9.1
"""
TRITON: Final = """\
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="m",version="1"} 40
# TYPE nv_inference_request_failure counter
nv_inference_request_failure{model="m",reason="REJECTED",version="1"} 1
nv_inference_request_failure{model="m",reason="CANCELED",version="1"} 7
nv_inference_request_failure{model="m",reason="BACKEND",version="1"} 2
# TYPE nv_inference_first_response_histogram_ms histogram
nv_inference_first_response_histogram_ms_bucket{model="m",version="1",le="150"} 38
nv_inference_first_response_histogram_ms_bucket{model="m",version="1",le="+Inf"} 40
nv_inference_first_response_histogram_ms_count{model="m",version="1"} 40
"""

# 90 good ones of users and 7 of the prober; a client's mistake, and 3 that could not be computed,
# all of which the ensemble counts twice.
ENSEMBLE: Final = """\
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="search",version="1"} 90
nv_inference_request_success{model="search__probe",version="1"} 7
nv_inference_request_success{model="student",version="1"} 0
nv_inference_request_success{model="student__tokens",version="1"} 99
nv_inference_request_success{model="student__graph",version="1"} 97
# TYPE nv_inference_request_failure counter
nv_inference_request_failure{model="search",reason="OTHER",version="1"} 8
nv_inference_request_failure{model="student__tokens",reason="BACKEND",version="1"} 1
nv_inference_request_failure{model="student__graph",reason="BACKEND",version="1"} 1
nv_inference_request_failure{model="student__graph",reason="REJECTED",version="1"} 1
nv_inference_request_failure{model="student__graph",reason="OTHER",version="1"} 5
nv_inference_request_failure{model="student__graph",reason="CANCELED",version="1"} 6
"""

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def our_page(fine: int, failed: int, slow: int = 0) -> str:
    """Return what a server of ours with these requests shows."""
    registry = CollectorRegistry()
    requests = Counter(
        "distill_server_requests_total",
        "Requests.",
        ["handler", "status"],
        registry=registry,
    )
    seconds = Histogram(
        "distill_server_request_duration_seconds",
        "Time.",
        buckets=(0.1, 0.15, 1.0),
        registry=registry,
    )
    for status, count in (("2xx", fine), ("5xx", failed)):
        if count:
            requests.labels("/v1/embeddings", status).inc(count)
    for number in range(fine + failed):
        seconds.observe(0.3 if number < slow else 0.15)
    return generate_latest(registry).decode()


def served(handler: Handler) -> AbstractAsyncContextManager[str]:
    """Serve every path of a port of this machine; yields the URL."""
    return pages.served(web.route("*", "/{path:.*}", handler))


def paged(text: str | bytes, status: int = 200) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        body = text if isinstance(text, bytes) else text.encode()
        return web.Response(body=body, status=status)

    return answer


def a_target(url: str, arm: Arm = Arm.STUDENT, runtime: Runtime = Runtime.TORCH) -> Target:
    return Target(
        arm=arm,
        pod=f"pod-{arm}",
        uid=f"uid-{arm}",
        url=f"{url}/metrics",
        runtime=runtime,
        started=NOW,
        created=NOW,
        revision="rev",
    )


async def looked(
    *targets: Target, metrics: tuple[Metric, ...] = (ERRORS, LATENCY), **more: Any
) -> ObservedMetrics:
    async with aiohttp.ClientSession() as session:
        return await scrape.look(session, Wanted("team-a", targets, metrics, **more))


def tallies(seen: ObservedMetrics) -> dict[tuple[str, str], tuple[int, int]]:
    return {(c.arm.value, c.metric): (c.requests, c.events) for c in seen.counts}


async def test_our_servers_requests_failures_and_slow_ones_are_counted() -> None:
    async with served(paged(our_page(97, 3, slow=5))) as url:
        seen = await looked(a_target(url), a_target(url, Arm.TEACHER))

    assert tallies(seen) == {
        ("student", "errors"): (100, 3),
        ("student", "latency-p95"): (100, 5),
        ("teacher", "errors"): (100, 3),
        ("teacher", "latency-p95"): (100, 5),
    }
    assert seen.problems == {}
    assert (seen.counts[0].pod_uid, seen.counts[0].started) == ("uid-student", NOW)


async def test_a_server_that_has_answered_nothing_yet_has_zero_requests_and_not_no_numbers() -> (
    None
):
    async with served(paged(our_page(0, 0))) as url:
        seen = await looked(a_target(url))

    assert tallies(seen) == {("student", "errors"): (0, 0), ("student", "latency-p95"): (0, 0)}
    assert seen.problems == {}


async def test_vllm_is_counted_by_its_api_without_health_checks() -> None:
    slow = Metric(
        name="first-token",
        latency=Latency(signal=Signal.TIME_TO_FIRST_TOKEN, limit_milliseconds=250),
    )
    async with served(paged(VLLM)) as url:
        seen = await looked(a_target(url, runtime=Runtime.VLLM), metrics=(ERRORS, slow))

    assert tallies(seen) == {("student", "errors"): (93, 3), ("student", "first-token"): (92, 7)}


async def test_of_vllm_only_users_requests_have_arrived_though_a_probers_take_time_as_well() -> (
    None
):
    probed = 'http_requests_total{handler="/invocations",method="POST",status="2xx"} 400.0'
    page = f"{VLLM}{probed}\n".replace("} 92.0", "} 492.0")
    slow = Metric(
        name="first-token",
        latency=Latency(signal=Signal.TIME_TO_FIRST_TOKEN, limit_milliseconds=250),
    )
    async with served(paged(page)) as url:
        seen = await looked(a_target(url, runtime=Runtime.VLLM), metrics=(ERRORS, slow))

    assert tallies(seen)["student", "first-token"] == (492, 407)
    assert [one.arrived for one in seen.counts] == [93, 93]


async def test_vllm_without_its_http_counters_is_counted_by_the_engine_without_aborts() -> None:
    page = "\n".join(line for line in VLLM.splitlines() if "http_requests" not in line)
    async with served(paged(page)) as url:
        seen = await looked(a_target(url, runtime=Runtime.VLLM), metrics=(ERRORS,))

    assert tallies(seen) == {("student", "errors"): (90, 2)}


async def test_triton_is_counted_without_cancelled_requests_and_in_milliseconds() -> None:
    first = Metric(
        name="first", latency=Latency(signal=Signal.TIME_TO_FIRST_TOKEN, limit_milliseconds=150)
    )
    async with served(paged(TRITON)) as url:
        seen = await looked(a_target(url, runtime=Runtime.TRITON), metrics=(ERRORS, first))

    assert tallies(seen) == {("student", "errors"): (43, 3), ("student", "first"): (40, 2)}


async def test_no_triton_tells_how_many_requests_took_too_long() -> None:
    async with served(paged(TRITON)) as url:
        seen = await looked(a_target(url, runtime=Runtime.TRITON))

    assert tallies(seen) == {("student", "errors"): (43, 3)}
    assert "so EndToEnd cannot be judged: remove the metric" in seen.problems["latency-p95"]


async def test_of_our_repository_users_are_counted_and_what_the_parts_could_not_do() -> None:
    async with served(paged(ENSEMBLE)) as url:
        seen = await looked(a_target(url, runtime=Runtime.TRITON), metrics=(ERRORS,))

    assert tallies(seen) == {("student", "errors"): (93, 3)}


async def test_a_limit_without_a_bucket_is_named_with_the_buckets_that_are_there() -> None:
    metric = Metric(name="latency", latency=Latency(limit_milliseconds=120))
    async with served(paged(our_page(10, 0))) as url:
        seen = await looked(a_target(url), metrics=(ERRORS, metric))

    assert tallies(seen) == {("student", "errors"): (10, 0)}
    assert "has no bucket that ends at 0.12, only at 0.1, 0.15, 1" in seen.problems["latency"]


async def _silent(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(10)
    return web.Response()


async def _away(_: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("http://127.0.0.1:1/metrics")


TROUBLES: Final[dict[str, tuple[Handler, str]]] = {
    "another page": (
        paged("# TYPE up gauge\nup 1\n"),
        "the page has no distill_server_requests_total",
    ),
    "an error": (paged("no", 500), "answered 500: no"),
    "a redirect": (_away, "answered 302"),
    "half a page": (
        paged("# TYPE distill_server_requests_total counter\ndistill_server_requests_total{"),
        "no page of Prometheus",
    ),
    "no text": (paged(b"\xff\xfe distill"), "cannot be read"),
    "silence": (_silent, "did not answer within"),
    "a fraction": (
        paged("# TYPE distill_server_requests_total counter\ndistill_server_requests_total 3.5\n"),
        "expected a whole number",
    ),
    "not a number": (
        paged("# TYPE distill_server_requests_total counter\ndistill_server_requests_total NaN\n"),
        "expected a whole number",
    ),
    "too much": (paged("x" * 300_000), "is longer than"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_whatever_is_wrong_becomes_a_sentence(
    trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_TIMEOUT", aiohttp.ClientTimeout(total=0.3))
    assert fetch.text.__kwdefaults__ is not None
    defaults = {**fetch.text.__kwdefaults__, "most": 100_000}
    monkeypatch.setattr(fetch.text, "__kwdefaults__", defaults)
    handler, said = TROUBLES[trouble]
    async with served(handler) as url:
        seen = await looked(a_target(url), metrics=(ERRORS,))

    assert seen.counts == ()
    assert said in seen.problems["errors"]
    assert "pod pod-student of the student" in seen.problems["errors"]
    assert seen.read


async def test_nobody_there_is_a_problem_and_no_pods_at_all_is_one_too() -> None:
    refused = await looked(a_target("http://127.0.0.1:1"), metrics=(ERRORS,))
    nobody = await looked(metrics=(ERRORS,))

    assert "cannot be read" in refused.problems["errors"]
    assert nobody.problems == {"errors": "no pod of the student runs"}


async def test_one_silent_pod_does_not_hide_what_the_others_have_counted() -> None:
    async with served(paged(our_page(10, 2))) as url:
        dead = replace(a_target("http://127.0.0.1:1"), pod="other", uid="other")
        seen = await looked(a_target(url), dead, metrics=(ERRORS,))

    assert tallies(seen) == {("student", "errors"): (12, 2)}
    assert seen.problems == {}


class Stored:
    """Answers queries as Prometheus does; remembers them."""

    def __init__(self, age: float = 3.0) -> None:
        self.queries: list[str] = []
        self.age = age

    async def answer(self, request: web.Request) -> web.StreamResponse:
        query = str((await request.post())["query"])
        self.queries.append(query)
        return web.json_response({"status": "success", "data": self._data(query)})

    def _data(self, query: str) -> dict[str, Any]:
        if "timestamp(" in query:
            return _vector(({"pod": "pod-student"}, self.age))
        if query.startswith("sum"):
            return _vector(({"pod": "pod-student"}, 7 if "bad" in query else 50))
        name = {"__name__": "distill_server_requests_total", "pod": "pod-student"}
        return _vector((name | {"status": "2xx"}, 60), (name | {"status": "5xx"}, 4))


def _vector(*entries: tuple[dict[str, str], float]) -> dict[str, Any]:
    result = [{"metric": labels, "value": [1764072000.0, str(v)]} for labels, v in entries]
    return {"resultType": "vector", "result": result}


CUSTOM: Final = Metric(
    name="empty",
    custom=Custom(
        events='sum by (pod) (bad_total{pod=~"$pods",namespace="$namespace"})',
        requests='sum by (pod) (all_total{arm="$arm"})',
        fine=0.01,
        limit=0.05,
    ),
)


async def test_prometheus_gives_the_raw_counters_of_our_pods() -> None:
    stored = Stored()
    async with served(stored.answer) as url:
        seen = await looked(
            a_target("http://127.0.0.1:1"), metrics=(ERRORS, CUSTOM), prometheus=Prometheus(url=url)
        )

    assert tallies(seen) == {("student", "errors"): (64, 4), ("student", "empty"): (50, 7)}
    assert any(
        'pod=~"pod\\\\-student"' in query and "__name__" in query for query in stored.queries
    )
    assert 'sum by (pod) (all_total{arm="student"})' in stored.queries
    assert any('bad_total{pod=~"pod\\\\-student",namespace="team-a"}' in q for q in stored.queries)


async def test_what_prometheus_has_not_scraped_lately_is_no_number() -> None:
    async with served(Stored(age=46.0).answer) as url:
        seen = await looked(
            a_target("http://127.0.0.1:1"),
            metrics=(ERRORS,),
            prometheus=Prometheus(url=url, scrape_interval_seconds=15),
        )

    assert seen.counts == ()
    assert "nothing fresh" in seen.problems["errors"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("{}", "does not answer as Prometheus does"),
        ("[]", "does not answer as Prometheus does"),
        (json.dumps({"data": {"resultType": "matrix", "result": []}}), "expected a vector"),
        (json.dumps({"data": _vector(({"job": "x"}, 1.0))}), "no label pod"),
        (json.dumps({"data": _vector(({"pod": "p"}, 1.0), ({"pod": "p"}, 2.0))}), "several series"),
    ],
)
async def test_an_answer_that_is_none_is_said(answer: str, said: str) -> None:
    async with served(paged(answer)) as url:
        seen = await looked(
            a_target("http://127.0.0.1:1"), metrics=(ERRORS,), prometheus=Prometheus(url=url)
        )

    assert seen.counts == ()
    assert said in seen.problems["errors"]


@pytest.mark.parametrize("source", QuerySource)
async def test_queries_of_each_source_come_to_an_end(source: QuerySource) -> None:
    pairs = Pairs(run="r1", total=2, queries=3, numbers=[1], scores={"rank": [(0.5, 1.0)]})
    rank = Metric(name="rank", quality=Quality(source=source))
    async with served(paged(pairs.model_dump_json(by_alias=True))) as url:
        seen = await looked(metrics=(rank,), probe=Probe("prober-0", url))

    (scores,) = seen.scores
    assert (scores.total, scores.queries, seen.problems) == (2, 3, {})


@pytest.mark.parametrize(
    ("runtime", "page", "requests"),
    [
        (Runtime.TORCH, our_page(97, 3), 100),
        (Runtime.VLLM, VLLM, 93),
        (Runtime.TRITON, TRITON, 43),
    ],
)
async def test_each_request_costs_something_a_failed_one_as_well(
    runtime: Runtime, page: str, requests: int
) -> None:
    cost = Metric(name="cost", cost=Cost())
    async with served(paged(page)) as url:
        seen = await looked(a_target(url, runtime=runtime), metrics=(cost,))

    assert tallies(seen) == {("student", "cost"): (requests, 0)}
    assert seen.problems == {}
