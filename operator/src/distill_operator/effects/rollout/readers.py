"""Which counters of each runtime are requests, failures and slow requests: one table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from distill_api import triton
from distill_api.rollout_arms import Runtime
from distill_api.rollout_metrics import Cost, Custom, Errors, Latency, Signal
from distill_api.rollout_metrics import Metric as WantedMetric

from distill_operator.effects.rollout.page import Labels, Page, stem
from distill_operator.errors import NotYet

OURS: Final = "distill_server_requests_total"
OUR_SECONDS: Final = "distill_server_request_duration_seconds"
VLLM_HTTP: Final = "http_requests_total"
VLLM_DONE: Final = "vllm:request_success_total"
TRITON_DONE: Final = "nv_inference_request_success"
TRITON_FAILED: Final = "nv_inference_request_failure"
TRITON_MILLISECONDS: Final = "nv_inference_first_response_histogram_ms"
TRITON_PARTS: Final = (triton.TOKENS, triton.GRAPH)
"""Models of a repository of ours that others ask, and no client."""
TRITON_FAULTS: Final = ("BACKEND", "REJECTED")
"""What a model could not compute, and what it had no place for."""
FAILED: Final = "5xx"


@dataclass(frozen=True, slots=True)
class Tally:
    """Totals of one metric in one process: requests, and those of them that count against it."""

    requests: int
    events: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Where a latency is counted."""

    name: str
    per_second: float = 1.0
    """Units of its bounds in a second: 1000 for milliseconds."""


@dataclass(frozen=True, slots=True)
class Reader:
    """How the pages of a runtime are read."""

    errors: Callable[[Page], Tally]
    latencies: Mapping[Signal, tuple[Histogram, ...]]
    """The first one that a page has is read: names have changed between versions."""
    counters: tuple[str, ...]
    uncounted: str = "the page has no histogram of {signal}"
    """What to say of a latency that no version of the runtime counts."""

    @property
    def families(self) -> tuple[str, ...]:
        """The names that are read, without endings."""
        named = (h.name for found in self.latencies.values() for h in found)
        return tuple(dict.fromkeys([*map(stem, self.counters), *named]))


def _ours(page: Page) -> Tally:
    failed = page.total(OURS, lambda labels: labels.get("status") == FAILED)
    return Tally(page.total(OURS), failed)


def _vllm(page: Page) -> Tally:
    """Count answers of the API; where that is not instrumented, ends of the engine's requests."""
    if page.has(VLLM_HTTP):
        failed = page.total(VLLM_HTTP, lambda ls: _of_api(ls) and ls.get("status") == FAILED)
        return Tally(page.total(VLLM_HTTP, _of_api), failed)
    # "success" includes failures and aborts; an abort is the client's own wish.
    ended = page.total(VLLM_DONE, lambda labels: labels.get("finished_reason") != "abort")
    failed = page.total(VLLM_DONE, lambda labels: labels.get("finished_reason") == "error")
    return Tally(ended, failed)


def _of_api(labels: Labels) -> bool:
    return labels.get("handler", "").startswith("/v1/")


def _triton(page: Page) -> Tally:
    """Count requests of users.

    Of a repository of ours the parts tell what failed: the ensemble above them counts a failure
    twice (2.51 does), and what a client did wrong as well.
    """
    if any(sample.labels.get("model") == triton.GRAPH for sample in page.samples):
        failed = page.total(
            TRITON_FAILED,
            lambda ls: ls.get("model") in TRITON_PARTS and ls.get("reason") in TRITON_FAULTS,
        )
        return Tally(page.total(TRITON_DONE, _of_users) + failed, failed)
    failed = page.total(TRITON_FAILED, lambda labels: labels.get("reason") != "CANCELED")
    return Tally(page.total(TRITON_DONE) + failed, failed)


def _of_users(labels: Labels) -> bool:
    model = labels.get("model", "")
    return model not in TRITON_PARTS and not model.endswith(triton.PROBE)


_OWN: Final = Reader(_ours, {Signal.END_TO_END: (Histogram(OUR_SECONDS),)}, (OURS,))
READERS: Final[Mapping[Runtime, Reader]] = {
    Runtime.ONNX_RUNTIME: _OWN,
    Runtime.TORCH: _OWN,
    Runtime.VLLM: Reader(
        _vllm,
        {
            Signal.END_TO_END: (Histogram("vllm:e2e_request_latency_seconds"),),
            Signal.TIME_TO_FIRST_TOKEN: (Histogram("vllm:time_to_first_token_seconds"),),
            Signal.TIME_PER_OUTPUT_TOKEN: (
                Histogram("vllm:request_time_per_output_token_seconds"),
                Histogram("vllm:time_per_output_token_seconds"),
            ),
        },
        (VLLM_HTTP, VLLM_DONE),
    ),
    # Of models that answer in several parts alone, from 2.52 on, and off by default:
    # `--metrics-config histogram_latencies=true`.
    Runtime.TRITON: Reader(
        _triton,
        {Signal.TIME_TO_FIRST_TOKEN: (Histogram(TRITON_MILLISECONDS, 1000.0),)},
        (TRITON_DONE, TRITON_FAILED),
        "Triton counts how long requests take in all, and not how many take longer than a limit, so"
        " {signal} cannot be judged: remove the metric, or count at the gateway with"
        " evidence.prometheus and a custom metric",
    ),
}

if READERS.keys() != set(Runtime):
    raise AssertionError("every runtime must say how it is counted")


def read(page: Page, runtime: Runtime, metric: WantedMetric) -> Tally:
    """Return the totals of a metric; NotYet with the reason where the page does not have them."""
    kind = metric.kind
    reader = READERS[runtime]
    if isinstance(kind, Errors):
        return reader.errors(page)
    if isinstance(kind, Cost):
        # Each request has its price, a failed one as well.
        return Tally(reader.errors(page).requests, 0)
    if isinstance(kind, Latency):
        return _slow(page, reader, kind)
    source = "Prometheus" if isinstance(kind, Custom) else "the counters of a server"
    raise NotYet(f"{metric.name} is not read from {source} of this arm")


def _slow(page: Page, reader: Reader, wanted: Latency) -> Tally:
    known = reader.latencies.get(wanted.signal, ())
    found = next((histogram for histogram in known if page.has(histogram.name)), None)
    if not known:
        raise NotYet(reader.uncounted.format(signal=wanted.signal))
    if found is None:
        raise NotYet(f"the page has no {' or '.join(h.name for h in known)}")
    bound = wanted.limit_milliseconds / 1000 * found.per_second
    requests, events = page.beyond(found.name, bound)
    return Tally(requests, events)
