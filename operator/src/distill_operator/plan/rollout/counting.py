"""From the series of one process to the counts of a metric: integers, or why there are none."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from distill_api.rollout_arms import Runtime
from distill_api.rollout_metrics import Errors, Latency

from distill_operator.plan.rollout.families import FAMILIES, Counter, Families, Histogram

SHOWN: Final = 12
"""Bounds of buckets that a sentence lists."""
INFINITY: Final = math.inf


@dataclass(frozen=True, slots=True)
class Series:
    """One series of a scrape."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Count:
    """Requests since the process started, and how many of them the metric is about."""

    requests: int
    events: int


def of(kind: Errors | Latency, runtime: Runtime, scrape: Sequence[Series]) -> Count | str:
    """Return the counts of a metric in one process; a sentence where it has none.

    scrape: the series of that process alone, raw.
    """
    found = FAMILIES[runtime]
    if isinstance(kind, Errors):
        return _errors(found, scrape)
    histogram = found.latency.get(kind.signal)
    if histogram is None:
        return f"{runtime} does not measure {kind.signal} latency: choose another signal"
    return _slow(histogram, kind.limit_milliseconds, scrape)


def _errors(found: Families, scrape: Sequence[Series]) -> Count | str:
    """Count requests and failures; no series of failures means that there were none."""
    told = _sum(found.good, scrape)
    failed = _sum(found.failed, scrape) or 0
    if told is None and (found.failed_inside or not failed):
        names = " or ".join(counter.name for counter in found.good)
        return f"it has no series {names}: no request was counted yet, or another server answers"
    requests = (told or 0) + (0 if found.failed_inside else failed)
    return Count(requests, min(failed, requests))


def _sum(counters: Iterable[Counter], scrape: Sequence[Series]) -> int | None:
    values = [
        series.value
        for counter in counters
        for series in scrape
        if series.name == counter.name and counter.takes(series.labels)
    ]
    return _whole(values)


def _whole(values: Sequence[float]) -> int | None:
    """Return the sum as an integer; None without values, or where one is not a number."""
    if not values or not all(math.isfinite(value) for value in values):
        return None
    return int(math.fsum(values))


def _slow(histogram: Histogram, limit: int, scrape: Sequence[Series]) -> Count | str:
    """Count the requests above a limit; only a bucket that ends exactly there can tell."""
    family = Counter(f"{histogram.name}_bucket", lacking=histogram.lacking)
    buckets = [s for s in scrape if s.name == family.name and family.takes(s.labels)]
    if not buckets:
        return f"it has no histogram {histogram.name}: {histogram.configure}"
    bound = limit * histogram.per_second / 1000
    ends = sorted({_end(series) for series in buckets})
    if not any(math.isclose(end, bound) for end in ends):
        return _no_bucket(histogram, limit, ends)
    within = _whole([s.value for s in buckets if math.isclose(_end(s), bound)])
    every = _whole([s.value for s in buckets if _end(s) == INFINITY])
    if within is None or every is None:
        return f"its histogram {histogram.name} is not whole: it has no number at +Inf"
    return Count(every, max(0, every - within))


def _end(series: Series) -> float:
    """Return the end of a bucket: `2`, `2.0` and `2e0` are the same one."""
    try:
        return float(series.labels.get("le", "nan"))
    except ValueError:
        return math.nan


def _no_bucket(histogram: Histogram, limit: int, ends: Sequence[float]) -> str:
    scale = 1000 / histogram.per_second
    known = [f"{end * scale:g}" for end in ends if math.isfinite(end)]
    listed = ", ".join(known[:SHOWN]) + (", ..." if len(known) > SHOWN else "")
    return (
        f"its histogram {histogram.name} has no bucket that ends at {limit} ms, only at {listed}:"
        f" {histogram.configure}"
    )
