"""What is told of a load, and its gates: a request that failed is never a quick one."""

import pytest
from distill_api.outcome import Benchmark, Evaluation
from distill_trainer.measures import gates, served
from distill_trainer.measures.bootstrap import Retention
from distill_trainer.measures.served import Load, Served

KEPT = {"nDCG@10": Retention(0.95, 0.93, 0.97)}
TEACHER = Load((0.2,) * 100, 0, span=5.0, memory=600 * 2**20, late=0.001)


def asked(**limits: float) -> Benchmark:
    return Benchmark.model_validate({"requestsPerSecond": 20, "requests": 100, **limits})


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
    }
    assert found.teacher is not None
    assert found.teacher.p50_milliseconds == "200.000"


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
    found = gates.judge(Evaluation(gates=[]), KEPT, 1.0, Served(asked(**limits), load, TEACHER))
    assert found.verdict == expected


def test_failures_that_are_allowed_still_miss_a_limit_of_latency():
    limits = {"maxFailures": 1.0, "maxP95Milliseconds": 150}
    found = gates.judge(
        Evaluation(gates=[]), KEPT, 1.0, Served(asked(**limits), a_load(failures=6))
    )
    assert found.verdict == "Missed"


def test_the_sentence_names_rate_numbers_and_limits():
    limits = {"maxP95Milliseconds": 150, "maxMemoryMebibytes": 200}
    found = Served(asked(**limits), a_load(slow=10))
    assert gates.judge(Evaluation(gates=[]), KEPT, 1.0, found).explanation == (
        "Missed: the server's memory 300.0 MiB (at most 200 MiB asked). Held: served P95 at 20"
        " requests a second 100.0 ms (at most 150 ms asked), 0 of 100 requests failed at 20"
        " requests a second (at most 0.50% asked)."
    )
