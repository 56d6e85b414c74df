"""What a scrape says about a metric: whole counts, or the sentence why there are none."""

import pytest
from distill_api.rollout_arms import Runtime
from distill_api.rollout_metrics import Errors, Latency, Quantile, Signal
from distill_operator.plan.rollout import counting, families
from distill_operator.plan.rollout.counting import Count, Series


def scrape(*lines: str) -> list[Series]:
    """Return series from lines such as `name{a=b,c=d} 3`."""
    found = []
    for line in lines:
        head, value = line.rsplit(" ", 1)
        name, _, rest = head.partition("{")
        pairs = [pair.split("=", 1) for pair in rest.rstrip("}").split(",") if pair]
        found.append(Series(name, dict(pairs), float(value)))
    return found


OURS = scrape(
    "distill_server_requests_total{handler=/v1/embeddings,status=2xx} 90",
    "distill_server_requests_total{handler=/v1/embeddings,status=4xx} 5",
    "distill_server_requests_total{handler=/v1/embeddings,status=5xx} 5",
    "distill_server_requests_total{handler=/v1/embeddings,status=5xx,synthetic=true} 1000",
    "distill_server_request_duration_seconds_bucket{le=0.1} 60",
    "distill_server_request_duration_seconds_bucket{le=0.15} 95",
    "distill_server_request_duration_seconds_bucket{le=+Inf} 100",
    "distill_server_request_duration_seconds_bucket{le=+Inf,synthetic=true} 7",
)
VLLM = scrape(
    "http_requests_total{handler=/v1/embeddings,status=2xx} 40",
    "http_requests_total{handler=/v1/embeddings,status=5xx} 2",
    "http_requests_total{handler=/health,status=2xx} 999",
    "vllm:e2e_request_latency_seconds_bucket{le=0.3,engine=0} 30",
    "vllm:e2e_request_latency_seconds_bucket{le=0.3,engine=1} 5",
    "vllm:e2e_request_latency_seconds_bucket{le=+Inf,engine=0} 32",
    "vllm:e2e_request_latency_seconds_bucket{le=+Inf,engine=1} 8",
)
TRITON = scrape(
    "nv_inference_request_success{model=m} 95",
    "nv_inference_request_failure{model=m,reason=BACKEND} 3",
    "nv_inference_request_failure{model=m,reason=CANCELED} 50",
    "nv_inference_first_response_histogram_ms_bucket{le=150} 80",
    "nv_inference_first_response_histogram_ms_bucket{le=+Inf} 98",
)


def latency(limit: int, signal: Signal = Signal.END_TO_END) -> Latency:
    return Latency(limit_milliseconds=limit, signal=signal, quantile=Quantile.P95)


COUNTED: list[tuple[str, Runtime, Errors | Latency, list[Series], Count]] = [
    ("our errors, without probes", Runtime.TORCH, Errors(), OURS, Count(100, 5)),
    ("our latency, without probes", Runtime.ONNX_RUNTIME, latency(150), OURS, Count(100, 5)),
    ("vLLM's errors, without its health", Runtime.VLLM, Errors(), VLLM, Count(42, 2)),
    ("vLLM's latency, over its engines", Runtime.VLLM, latency(300), VLLM, Count(40, 5)),
    ("Triton's errors, without clients that left", Runtime.TRITON, Errors(), TRITON, Count(98, 3)),
    ("Triton's latency, in milliseconds", Runtime.TRITON, latency(150), TRITON, Count(98, 18)),
    (
        "no failure was counted yet",
        Runtime.TORCH,
        Errors(),
        scrape("distill_server_requests_total{status=2xx} 7"),
        Count(7, 0),
    ),
    (
        "every request of Triton failed",
        Runtime.TRITON,
        Errors(),
        scrape("nv_inference_request_failure{reason=OTHER} 7"),
        Count(7, 7),
    ),
]


@pytest.mark.parametrize(
    ("why", "runtime", "kind", "seen", "expected"), COUNTED, ids=[case[0] for case in COUNTED]
)
def test_what_is_counted(
    why: str, runtime: Runtime, kind: Errors | Latency, seen: list[Series], expected: Count
):
    assert counting.of(kind, runtime, seen) == expected, why


SILENT: list[tuple[str, Runtime, Errors | Latency, list[Series], str]] = [
    ("nothing was scraped", Runtime.TORCH, Errors(), [], "no series distill_server_requests"),
    (
        "not a number",
        Runtime.TORCH,
        Errors(),
        scrape("distill_server_requests_total{status=2xx} nan"),
        "no series",
    ),
    ("no histogram", Runtime.TRITON, latency(150), [], "histogram_latencies=true"),
    (
        "no bucket at the limit",
        Runtime.VLLM,
        latency(150),
        VLLM,
        "no bucket that ends at 150 ms, only at 300: vLLM's buckets cannot be configured",
    ),
    (
        "a histogram without an end",
        Runtime.TORCH,
        latency(150),
        scrape("distill_server_request_duration_seconds_bucket{le=0.15} 3"),
        "is not whole",
    ),
    (
        "a signal that is not measured",
        Runtime.TORCH,
        latency(150, Signal.TIME_TO_FIRST_TOKEN),
        OURS,
        "does not measure TimeToFirstToken",
    ),
]


@pytest.mark.parametrize(
    ("why", "runtime", "kind", "seen", "words"), SILENT, ids=[case[0] for case in SILENT]
)
def test_why_nothing_is_counted(
    why: str, runtime: Runtime, kind: Errors | Latency, seen: list[Series], words: str
):
    found = counting.of(kind, runtime, seen)
    assert isinstance(found, str), why
    assert words in found, why


@pytest.mark.parametrize("runtime", Runtime)
def test_all_that_is_counted_is_asked_for(runtime: Runtime):
    asked = families.names(runtime)
    assert asked
    used = {"Torch": OURS, "OnnxRuntime": OURS, "VLLM": VLLM, "Triton": TRITON}[runtime.value]
    assert {series.name for series in used} <= set(asked)
