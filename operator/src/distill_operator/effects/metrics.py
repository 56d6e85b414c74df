"""The operator's own numbers for Prometheus."""

from collections.abc import Callable, Iterable
from functools import partial

from distill_api.names import StageState
from distill_api.status import JobStatus
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

LONG = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
"""Seconds: stages take from moments to days."""
LAG = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60)


class Metrics:
    """Every number of ours, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        self.passes = histogram(
            "kubedistill_reconcile_seconds",
            "Time of one pass over a DistillationJob, by result.",
            ["result"],
        )
        self.lag = histogram(
            "kubedistill_queue_lag_seconds", "How late a due pass started.", buckets=LAG
        )
        self.calls = histogram(
            "kubedistill_api_call_seconds",
            "Calls to the API server by verb, resource and code.",
            ["verb", "resource", "code"],
        )
        self.watched = counter(
            "kubedistill_watch_events_total", "Events that the watches delivered.", ["resource"]
        )
        self.relisted = counter(
            "kubedistill_watch_restarts_total",
            "Times that a watch began anew with a list.",
            ["resource"],
        )
        self.missed = counter(
            "kubedistill_watch_missed_total",
            "Changes that a list found and the watch had not delivered.",
            ["resource"],
        )
        self.stages = histogram(
            "kubedistill_stage_seconds",
            "Time from the start of a stage to its completion.",
            ["stage"],
            buckets=LONG,
        )
        self.pushes = counter(
            "kubedistill_progress_pushes_total",
            "Progress pushes by the status of their answer.",
            ["code"],
        )
        self.loop_lag = Gauge(
            "kubedistill_event_loop_lag_seconds",
            "How late the event loop last woke up.",
            registry=self.registry,
        )

    def call(self, verb: str, resource: str, code: str, seconds: float) -> None:
        """Count one call to the API server."""
        self.calls.labels(verb, resource, code).observe(seconds)

    def writes(self) -> float:
        """Return how many calls so far could have changed something, leases left out."""
        return sum(
            sample.value
            for family in self.calls.collect()
            for sample in family.samples
            if sample.name.endswith("_count")
            and sample.labels["verb"] in {"POST", "PUT", "PATCH", "DELETE"}
            and sample.labels["resource"] not in {"leases", "tokenreviews"}
        )

    def completed(self, before: JobStatus, after: JobStatus) -> None:
        """Record the time of each stage that `after` shows as complete and `before` did not."""
        known = {stage.name for stage in before.stages if stage.state == StageState.COMPLETE}
        for stage in after.stages:
            if stage.state != StageState.COMPLETE or stage.name in known:
                continue
            if stage.start_time and stage.completion_time:
                seconds = (stage.completion_time - stage.start_time).total_seconds()
                self.stages.labels(stage.name.value).observe(seconds)

    def at_scrape(
        self,
        *,
        phases: Callable[[], Iterable[str]],
        leading: Callable[[], bool],
        depth: Callable[[], int],
        ages: Callable[[], dict[str, float]],
    ) -> None:
        """Register what is looked up whenever somebody asks."""
        self.registry.register(_AtScrape(phases, leading, depth, ages))


class _AtScrape(Collector):
    """Numbers that are known elsewhere: asked for, not kept up to date."""

    def __init__(
        self,
        phases: Callable[[], Iterable[str]],
        leading: Callable[[], bool],
        depth: Callable[[], int],
        ages: Callable[[], dict[str, float]],
    ) -> None:
        self._phases = phases
        self._leading = leading
        self._depth = depth
        self._ages = ages

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return the numbers of this moment."""
        jobs = GaugeMetricFamily("kubedistill_jobs", "DistillationJobs by phase.", labels=["phase"])
        counts: dict[str, int] = {}
        for phase in self._phases():
            counts[phase] = counts.get(phase, 0) + 1
        for phase, count in sorted(counts.items()):
            jobs.add_metric([phase], count)
        age = GaugeMetricFamily(
            "kubedistill_watch_last_event_age_seconds",
            "Time since a watch last delivered something.",
            labels=["resource"],
        )
        for resource, seconds in sorted(self._ages().items()):
            age.add_metric([resource], seconds)
        return [
            jobs,
            age,
            GaugeMetricFamily(
                "kubedistill_leading", "1 on the replica that leads.", value=float(self._leading())
            ),
            GaugeMetricFamily(
                "kubedistill_queue_depth", "Passes that are due.", value=self._depth()
            ),
        ]
