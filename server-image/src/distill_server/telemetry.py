"""The numbers at /metrics: what a rollout judges by, and what explains it."""

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from distill_server.settings import Settings

BOUNDARIES: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5),
    *(0.75, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 30.0),
)
"""Seconds; the latency limits of a rollout are added."""
STATUSES: Final = ("2xx", "4xx", "5xx")
SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
ARMS: Final = ("teacher", "student")
VOTES: Final = ("up", "down")
PREFIX: Final = "distill_server"

disable_created_metrics()  # type: ignore[no-untyped-call]  # of the library


class Telemetry:
    """All metrics of one server; every series that a rollout reads exists from the start.

    A counter that appears with its first error hides that error from whoever takes differences.
    Synthetic traffic of the prober has series of its own.
    """

    def __init__(self, settings: Settings, handlers: Iterable[str]) -> None:
        self.registry = CollectorRegistry()
        self.arm = settings.arm
        self.digest = ""
        """Of the model that is served."""
        self._boundaries = boundaries(settings.latency_limits_ms)
        self._users = self._traffic("", "Requests of users")
        self._probes = self._traffic("probe_", "Requests of the prober")
        self.in_flight = self._gauge("requests_in_flight", "Requests that are being answered")
        self._waiting = self._gauge("queue_depth", "Sequences that wait for a batch")
        self._sizes = Histogram(
            f"{PREFIX}_batch_size", "Sequences in a batch", buckets=SIZES, registry=self.registry
        )
        self._tokens = self._counter("tokens", "Tokens computed, padding left out")
        self._cancelled = self._counter("cancelled_requests", "Requests whose caller went away")
        self._info = self._gauge("model_info", "What is served", "model", "runtime", "kind",
                                 "digest", "weights", "variant")  # fmt: skip
        self._votes = self._counter("feedback", "Votes of users", "value", "variant")
        for handler in handlers:
            self._begin(handler)
        for vote in VOTES:
            self._votes.labels(vote, self.arm)

    def answered(self, handler: str, status: int, seconds: float, *, probe: bool) -> None:
        """Count a request; only a result's time is a latency, as a refusal is quick."""
        requests, durations = self._probes if probe else self._users
        requests.labels(handler, f"{status // 100}xx", self.arm).inc()
        if status < 400:
            durations.labels(handler, self.arm).observe(seconds)

    def cancelled(self) -> None:
        """Count a caller that went away."""
        self._cancelled.inc()

    def waiting(self, sequences: int) -> None:
        """Say how many sequences wait now."""
        self._waiting.set(sequences)

    def batch(self, sequences: int, tokens: int) -> None:
        """Count a batch."""
        self._sizes.observe(sequences)
        self._tokens.inc(tokens)

    def vote(self, value: str, variant: str) -> None:
        """Count a user's vote for an arm."""
        self._votes.labels(value, variant).inc()

    def serving(self, **labels: str) -> None:
        """Say what is served; labels: model, runtime, kind, digest, weights."""
        self.digest = labels["digest"]
        self._info.labels(**labels, variant=self.arm).set(1)

    def _begin(self, handler: str) -> None:
        for requests, durations in (self._users, self._probes):
            durations.labels(handler, self.arm)
            for status in STATUSES:
                requests.labels(handler, status, self.arm)

    def _traffic(self, kind: str, text: str) -> tuple[Counter, Histogram]:
        requests = self._counter(f"{kind}requests", text, "handler", "status", "variant")
        durations = Histogram(
            f"{PREFIX}_{kind}request_duration_seconds",
            f"{text}: seconds until the last byte of a result",
            ("handler", "variant"),
            buckets=self._boundaries,
            registry=self.registry,
        )
        return requests, durations

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", text, labels, registry=self.registry)


def boundaries(limits_ms: Iterable[float]) -> tuple[float, ...]:
    """Return the histogram's boundaries in seconds, one at exactly each limit."""
    return tuple(sorted({*BOUNDARIES, *(limit / 1000 for limit in limits_ms)}))
