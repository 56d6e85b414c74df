"""The prober's own numbers at /metrics, for people and for Prometheus."""

from collections.abc import Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
)

from distill_server.prober.arms import Why
from distill_server.prober.ledger import Pair, Run
from distill_server.prober.mirror import Fate

PREFIX: Final = "distill_prober"
ARMS: Final = ("student", "teacher")

disable_created_metrics()  # type: ignore[no-untyped-call]  # of the library


class Telemetry:
    """All metrics of a prober; a start anew is seen by process_start_time_seconds."""

    def __init__(self, metrics: tuple[str, ...]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._pairs = self._counter("pairs", "Queries that both arms answered", "metric")
        self._scores = self._counter("scores", "Sum of scores of the pairs", "metric", "arm")
        self._repeats = self._counter("repeats", "Pairs of queries sent again", "metric")
        self._repeated = self._counter(
            "repeat_scores", "Sum of scores of the repeats", "metric", "arm"
        )
        self._failed = self._counter("failures", "Requests without a score", "arm", "reason")
        self._given_up = self._counter("given_up_queries", "Queries that bring no pair")
        self._changes = self._counter("model_changes", "Times that an arm's model changed", "arm")
        self._copies = self._counter("mirrored_requests", "Copies of users' requests", "fate")
        self._queries = self._gauge("queries", "Queries that are sent")
        self._run = self._gauge("run_info", "What is compared", "run", "teacher", "student")
        self._begin(metrics)

    def scored(self, pairs: Mapping[str, Pair], *, repeated: bool) -> None:
        """Count a pair of each metric."""
        count, total = (self._repeats, self._repeated) if repeated else (self._pairs, self._scores)
        for metric, scores in pairs.items():
            count.labels(metric).inc()
            for arm, score in zip(ARMS, scores, strict=True):
                total.labels(metric, arm).inc(score)

    def failed(self, arm: str, why: Why) -> None:
        """Count a request that brought nothing."""
        self._failed.labels(arm, why.value).inc()

    def copied(self, fate: Fate) -> None:
        """Count a copy of a user's request."""
        self._copies.labels(fate.value).inc()

    def given_up(self) -> None:
        """Count a query that is left out."""
        self._given_up.inc()

    def changed(self, arm: str) -> None:
        """Count another model of an arm."""
        self._changes.labels(arm).inc()

    def began(self, run: Run, queries: int) -> None:
        """Say what is compared from now on."""
        self._queries.set(queries)
        self._run.clear()
        self._run.labels(run.name, run.teacher, run.student).set(1)

    def _begin(self, metrics: tuple[str, ...]) -> None:
        for fate in Fate:
            self._copies.labels(fate.value)
        for arm in ARMS:
            self._changes.labels(arm)
            for why in Why:
                self._failed.labels(arm, why.value)
            for metric in metrics:
                self._scores.labels(metric, arm)
                self._repeated.labels(metric, arm)
        for metric in metrics:
            self._pairs.labels(metric)
            self._repeats.labels(metric)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", text, labels, registry=self.registry)
