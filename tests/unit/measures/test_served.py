"""What is told of a load, and its gates: a request that failed is never a quick one."""

from dataclasses import replace
from typing import Any

import pytest
from distill_api.outcome import Benchmark, Evaluation
from distill_trainer.measures import gates, served
from distill_trainer.measures.bootstrap import Retention
from distill_trainer.measures.gates import Verdict
from distill_trainer.measures.served import Load, Served, Tokens

KEPT = {"nDCG@10": Retention(0.95, 0.93, 0.97)}
TEACHER = Load((0.2,) * 100, 0, span=5.0, memory=600 * 2**20, late=0.001)


def asked(**limits: Any) -> Benchmark:
    return Benchmark.model_validate({"requestsPerSecond": 20, "requests": 100, **limits})


def judged(benchmark: Benchmark, *loads: Load) -> Verdict:
    """Judge a student that keeps enough by its load, the teacher's beside it."""
    return gates.judge(Evaluation(gates=[]), KEPT, 1.0, Served(benchmark, *loads))


def a_load(slow: int = 0, failures: int = 0) -> Load:
    """Return 100 requests of 10 ms, some of 100 ms, some that failed."""
    quick = 100 - slow - failures
    seconds = (0.01,) * quick + (0.1,) * slow + (10.0,) * failures
    return Load(seconds, failures, span=5.0, memory=300 * 2**20, late=0.001)


def test_the_status_has_counts_percentiles_and_memory():
    found = served.status(Served(asked(), a_load(slow=10, failures=2), TEACHER))
    assert found.requests_per_second == "20.000"
    assert found.student.model_dump() == {
        "requests": 100,
        "failures": 2,
        "p50_milliseconds": "10.000",
        "p95_milliseconds": "100.000",
        "p99_milliseconds": "10000.000",
        "requests_per_second": "19.60",
        "peak_memory_bytes": 300 * 2**20,
        "tokens": None,
    }
    assert found.teacher is not None
    assert found.teacher.p50_milliseconds == "200.000"


def a_writer(first: float = 0.05, each: tuple[float, ...] = (0.01,) * 99 + (0.5,)) -> Load:
    return replace(a_load(), tokens=Tokens((first,) * 100, each, 1234))


def writes(**limits: float) -> Benchmark:
    return asked(vllm={"image": "v", **limits})


def test_the_status_of_a_server_that_writes_has_its_tokens():
    told = served.status(Served(writes(), a_writer(), a_writer(each=())))
    tokens = told.student.tokens
    assert tokens is not None
    assert (tokens.output_tokens, tokens.tokens_per_second) == (1234, "246.80")
    assert tokens.time_to_first_token.model_dump() == {
        "p50_milliseconds": "50.000",
        "p95_milliseconds": "50.000",
        "p99_milliseconds": "50.000",
    }
    assert tokens.time_per_output_token is not None
    assert tokens.time_per_output_token.p95_milliseconds == "10.000"
    assert told.teacher is not None
    assert told.teacher.tokens is not None
    assert told.teacher.tokens.time_per_output_token is None, "single tokens have none"


TOKENS = [
    ("quick enough", {"maxP95TimeToFirstTokenMilliseconds": 50}, a_writer(), "Passed"),
    ("a late first token", {"maxP95TimeToFirstTokenMilliseconds": 49}, a_writer(), "Missed"),
    ("a steady stream", {"maxP95TimePerOutputTokenMilliseconds": 10}, a_writer(), "Passed"),
    ("a slow one", {"maxP95TimePerOutputTokenMilliseconds": 9}, a_writer(), "Missed"),
    (
        "nothing to judge",
        {"maxP95TimePerOutputTokenMilliseconds": 9},
        a_writer(each=()),
        "Missed",
    ),
]


@pytest.mark.parametrize(("why", "limits", "load", "expected"), TOKENS, ids=[c[0] for c in TOKENS])
def test_tokens_have_gates_of_their_own(
    why: str, limits: dict[str, float], load: Load, expected: str
):
    found = judged(writes(**limits), load, TEACHER)
    assert found.verdict == expected


def test_a_missed_gate_of_tokens_names_rate_and_numbers():
    limits = {
        "maxP95TimeToFirstTokenMilliseconds": 40,
        "maxP95TimePerOutputTokenMilliseconds": 30,
    }
    found = judged(writes(**limits), a_writer())
    assert found.explanation == (
        "Missed: served P95 of the time to the first token at 20 requests a second 50.0 ms (at most"
        " 40 ms asked). Held: served P95 of the time per output token at 20 requests a second"
        " 10.0 ms (at most 30 ms asked), 0 of 100 requests failed at 20 requests a second (at most"
        " 0.50% asked)."
    )


def test_failures_are_told_with_the_words_of_the_first():
    load = replace(a_load(failures=6), why="HTTP 400: The prompt is too long")
    found = judged(asked(), load)
    assert found.explanation.startswith(
        "Missed: 6 of 100 requests failed at 20 requests a second (at most 0.50% asked; the first:"
        " HTTP 400: The prompt is too long)."
    )


CASES = [
    ("nothing but the default for failures", {}, a_load(), "Passed"),
    ("more failures than the guide allows", {}, a_load(failures=1), "Missed"),
    ("failures that were allowed", {"maxFailures": 0.01}, a_load(failures=1), "Passed"),
    ("quick enough", {"maxP95Milliseconds": 100}, a_load(slow=10), "Passed"),
    ("too slow", {"maxP95Milliseconds": 99}, a_load(slow=10), "Missed"),
    ("P99 is another matter", {"maxP99Milliseconds": 99}, a_load(slow=3), "Missed"),
    ("small enough", {"maxMemoryMebibytes": 300}, a_load(), "Passed"),
    ("too large", {"maxMemoryMebibytes": 299}, a_load(), "Missed"),
]


@pytest.mark.parametrize(("why", "limits", "load", "expected"), CASES, ids=[c[0] for c in CASES])
def test_a_gate_is_judged_by_the_students_server(
    why: str, limits: dict[str, float], load: Load, expected: str
):
    found = judged(asked(**limits), load, TEACHER)
    assert found.verdict == expected


def test_failures_that_are_allowed_still_miss_a_limit_of_latency():
    limits = {"maxFailures": 1.0, "maxP95Milliseconds": 150}
    found = judged(asked(**limits), a_load(failures=6))
    assert found.verdict == "Missed"


def test_the_sentence_names_rate_numbers_and_limits():
    limits = {"maxP95Milliseconds": 150, "maxMemoryMebibytes": 200}
    found = Served(asked(**limits), a_load(slow=10))
    assert gates.judge(Evaluation(gates=[]), KEPT, 1.0, found).explanation == (
        "Missed: the server's memory 300.0 MiB (at most 200 MiB asked). Held: served P95 at 20"
        " requests a second 100.0 ms (at most 150 ms asked), 0 of 100 requests failed at 20"
        " requests a second (at most 0.50% asked)."
    )
