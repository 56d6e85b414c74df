"""Which counters each runtime has: the names of metrics, in one table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from distill_api.rollout_arms import Runtime
from distill_api.rollout_metrics import Signal


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter, or the part of it whose labels have, or have not, certain values."""

    name: str
    having: Mapping[str, frozenset[str]] = field(default_factory=dict)
    lacking: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Tell whether a series belongs to it."""
        wanted = all(labels.get(name) in values for name, values in self.having.items())
        return wanted and not any(labels.get(n) in values for n, values in self.lacking.items())


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram of latencies."""

    name: str
    """Without `_bucket`."""
    per_second: int
    """Parts of a second that its bounds count in: 1, or 1000 for milliseconds."""
    configure: str
    """How a bucket at a limit comes about, as the end of a sentence."""
    lacking: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Families:
    """The counters of a runtime."""

    good: tuple[Counter, ...]
    """All requests that were answered well or, with `failed` inside, all requests."""
    failed: tuple[Counter, ...]
    """Requests that failed on the server's side."""
    failed_inside: bool
    """`failed` is a part of `good`; otherwise both are added up to all requests."""
    latency: Mapping[Signal, Histogram]


_SERVER_ERRORS: Final = frozenset({"5xx", "500", "502", "503", "504"})
_NO_REQUESTS: Final = {"handler": frozenset({"/health", "/metrics", "/ping", "/version", "none"})}
_PROBES: Final = {"synthetic": frozenset({"true"})}
"""Requests of the prober are counted apart by our server."""
_OURS_COUNTER: Final = "distill_server_requests_total"
_OURS: Final = Families(
    good=(Counter(_OURS_COUNTER, lacking=_PROBES),),
    failed=(Counter(_OURS_COUNTER, {"status": _SERVER_ERRORS}, _PROBES),),
    failed_inside=True,
    latency={
        Signal.END_TO_END: Histogram(
            "distill_server_request_duration_seconds",
            1,
            "start the server with --latency-limits-ms and this limit",
            _PROBES,
        )
    },
)
_VLLM_FIXED: Final = "vLLM's buckets cannot be configured: choose one of them as the limit"
_VLLM: Final = Families(
    good=(Counter("http_requests_total", lacking=_NO_REQUESTS),),
    failed=(Counter("http_requests_total", {"status": _SERVER_ERRORS}, _NO_REQUESTS),),
    failed_inside=True,
    latency={
        Signal.END_TO_END: Histogram("vllm:e2e_request_latency_seconds", 1, _VLLM_FIXED),
        Signal.TIME_TO_FIRST_TOKEN: Histogram("vllm:time_to_first_token_seconds", 1, _VLLM_FIXED),
        Signal.TIME_PER_OUTPUT_TOKEN: Histogram(
            "vllm:request_time_per_output_token_seconds", 1, _VLLM_FIXED
        ),
    },
)
_TRITON_FIRST: Final = Histogram(
    "nv_inference_first_response_histogram_ms",
    1000,
    "start Triton with --metrics-config histogram_latencies=true and list the limit in the model's"
    " model_metrics for this family",
)
_TRITON: Final = Families(
    good=(Counter("nv_inference_request_success"),),
    failed=(
        # Clients that go away are no fault of the server.
        Counter("nv_inference_request_failure", lacking={"reason": frozenset({"CANCELED"})}),
    ),
    failed_inside=False,
    # A model that answers once has answered with its first response.
    latency={Signal.END_TO_END: _TRITON_FIRST, Signal.TIME_TO_FIRST_TOKEN: _TRITON_FIRST},
)

FAMILIES: Final[Mapping[Runtime, Families]] = {
    Runtime.ONNX_RUNTIME: _OURS,
    Runtime.TORCH: _OURS,
    Runtime.VLLM: _VLLM,
    Runtime.TRITON: _TRITON,
}

if FAMILIES.keys() != set(Runtime):
    raise AssertionError("every runtime must say what it counts")


def names(runtime: Runtime) -> tuple[str, ...]:
    """Return the names of every series that a runtime's counts are made from, sorted."""
    found = FAMILIES[runtime]
    counters = {counter.name for counter in (*found.good, *found.failed)}
    histograms = {h.name for h in found.latency.values()}
    return tuple(
        sorted(counters | {f"{h}{end}" for h in histograms for end in ("_bucket", "_count")})
    )
