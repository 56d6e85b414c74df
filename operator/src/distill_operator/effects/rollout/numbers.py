"""Rollouts as numbers for Prometheus: looked up in what the watches have shown when it asks."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from distill_api.names import RolloutPhase
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from distill_operator.effects.store import uid
from distill_operator.plan.model import Manifest

MOST: Final = 500
"""Rollouts with numbers of their own: labels must not grow without bound. The first ones by name;
how many are left out is a number too."""
PLACE: Final = ("namespace", "rollout")


class RolloutNumbers(Collector):
    """What `status` says of every rollout, and how many transitions there were since the start.

    Transitions are counted from the history in status, not as they are decided: a pass that was
    broken off between its decision and its end has decided all the same.
    """

    def __init__(
        self,
        rollouts: Callable[[], Iterable[Manifest]],
        *,
        leading: Callable[[], bool],
        since: datetime,
    ) -> None:
        self._rollouts = rollouts
        self._leading = leading
        self._since = since
        self._counted: dict[str, int] = {}
        """The latest transition of each rollout that was looked at."""
        self._moves: Counter[tuple[str, str]] = Counter()

    def describe(self) -> Iterable[Metric]:
        """Name no metric ahead of time: at the registration nothing is watched yet."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return the numbers of this moment."""
        bodies = sorted(self._rollouts(), key=_place)
        self._count(bodies)
        yield _phases(bodies)
        left = max(0, len(bodies) - MOST)
        yield GaugeMetricFamily(
            "kubedistill_rollouts_left_out", "Rollouts without numbers of their own.", value=left
        )
        yield from _gauges(bodies[:MOST])
        yield self._family(
            "kubedistill_rollout_transitions", "Transitions by phase and reason.", ("to", "reason")
        )

    def _family(self, name: str, text: str, labels: tuple[str, ...]) -> CounterMetricFamily:
        found = CounterMetricFamily(name, text, labels=labels)
        for values, count in sorted(self._moves.items()):
            found.add_metric(values, count)
        return found

    def _count(self, bodies: list[Manifest]) -> None:
        """Count what has happened since the last look, on the replica that decides."""
        before, self._counted = self._counted, {}
        for body in bodies:
            history = (body.get("status") or {}).get("history") or ()
            known = before.get(uid(body), self._known(body, history))
            fresh = [entry for entry in history if entry["id"] > known]
            if self._leading():
                self._moves.update((entry["to"], entry["reason"]) for entry in fresh)
            self._counted[uid(body)] = max((known, *(entry["id"] for entry in fresh)))

    def _known(self, body: Manifest, history: Iterable[Mapping[str, Any]]) -> int:
        """Return up to where an earlier process has counted, as far as can be told."""
        created = datetime.fromisoformat(body["metadata"]["creationTimestamp"])
        if created >= self._since.replace(microsecond=0):
            return 0
        return max((entry["id"] for entry in history), default=0)


def _place(body: Manifest) -> tuple[str, str]:
    return body["metadata"]["namespace"], body["metadata"]["name"]


def _phases(bodies: Iterable[Manifest]) -> GaugeMetricFamily:
    """Return how many rollouts are in each phase; also none is told, so that alerts see it end."""
    counts = Counter(dict.fromkeys((phase.value for phase in RolloutPhase), 0))
    counts.update((body.get("status") or {}).get("phase", "Pending") for body in bodies)
    found = GaugeMetricFamily(
        "kubedistill_rollouts", "DistilledModelRollouts by phase.", labels=["phase"]
    )
    for phase, count in sorted(counts.items()):
        found.add_metric([phase], count)
    return found


def _gauges(bodies: Iterable[Manifest]) -> Iterator[Metric]:
    """Yield the families that have a series for each rollout."""
    families = {name: GaugeMetricFamily(name, text, labels=PLACE) for name, text in SINGLE.items()}
    verdicts = GaugeMetricFamily(
        "kubedistill_rollout_verdict", "1 for what the evidence says.", labels=[*PLACE, "verdict"]
    )
    evidence = GaugeMetricFamily(
        "kubedistill_rollout_evidence_llr",
        "Log-likelihood ratio of each metric's sequential test.",
        labels=[*PLACE, "metric"],
    )
    for body in bodies:
        place, status = _place(body), body.get("status") or {}
        for name, value in _single(status):
            families[name].add_metric(place, value)
        if status.get("verdict"):
            verdicts.add_metric((*place, status["verdict"]), 1)
        for metric, llr in _evidence(status):
            evidence.add_metric((*place, metric), llr)
    yield from (*families.values(), verdicts, evidence)


SINGLE: Final[Mapping[str, str]] = {
    "kubedistill_rollout_weight": "The student's share that was decided, 0 to 1.",
    "kubedistill_rollout_weight_on_route": "The student's share that the route has, 0 to 1.",
    "kubedistill_rollout_measured_share": "Share of the requests that reached the student.",
    "kubedistill_rollout_weight_verified": "1 while every gateway carries the weight.",
    "kubedistill_rollout_time_to_decision_seconds": "Until the slowest test is expected to end.",
}


def _single(status: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield what is known; what was not measured has no series, as it is not zero."""
    weight = status.get("weight") or {}
    times = [metric.get("predictedSeconds") for metric in status.get("metrics") or ()]
    known = [seconds for seconds in times if seconds is not None]
    values = (
        _thousandths(weight.get("desired")),
        _thousandths(weight.get("observed")),
        weight.get("measuredShare"),
        weight.get("verified"),
        max(known, default=None),
    )
    for name, value in zip(SINGLE, values, strict=True):
        if value is not None:
            yield name, float(value)


def _thousandths(value: int | None) -> float | None:
    return None if value is None else value / 1000


def _evidence(status: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for metric in status.get("metrics") or ():
        if metric.get("test"):
            yield metric["name"], float(metric["test"]["llr"])
