"""What counters of many containers gained, as integers that never fall.

`rate()` and `increase()` extrapolate, and drop the first value of a new series, which is where a
new student fails. Here each series keeps its last values: totals follow from what is stored, so
reading the same scrape twice, or after a restart of the operator, adds nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

type Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Sample:
    """One scrape of one container's counters.

    series: the pod's uid and the container's start, for example "3f0c/1764070000": without the
    start, a restart shows only where a counter fell. started: that start, by the API server's
    clock; at: when it was read, by the clock of whoever reads.
    """

    series: str
    started: float
    at: float
    counters: Counts


@dataclass(frozen=True, slots=True)
class Series:
    """What is remembered of one container: its last values and when, and if it is warm."""

    first_seen: float
    last_seen: float
    last: Counts
    warm: bool = False
    seen_requests: int = 0


@dataclass(frozen=True, slots=True)
class Rules:
    """What counts.

    began: when the rollout did; a series that is older counts from its first look on, or not at
    all if `ignore_older`. A container is warm after so many requests and seconds; what it did
    before (loading, compiling, filling caches) is set aside.
    """

    began: float
    warm_requests: int = 0
    warm_seconds: float = 0.0
    ignore_older: bool = False
    requests: str = "requests"


@dataclass(frozen=True, slots=True)
class Ledger:
    """All series of an arm with their totals: what must survive a restart of the operator."""

    series: Mapping[str, Series] = field(default_factory=dict)
    totals: Counts = field(default_factory=dict)
    set_aside: Counts = field(default_factory=dict)


def advance(
    ledger: Ledger, samples: Iterable[Sample], rules: Rules, *, alive: Iterable[str] | None = None
) -> tuple[Ledger, Counts]:
    """Take in one look; returns the new ledger and what was gained since the last one.

    A series that is missing is waited for; what it gains meanwhile counts when it is back. It is
    forgotten once it is not in `alive`, the series that Kubernetes still knows (None: keep all):
    forgetting one that comes back would count it twice.
    """
    series, aside = dict(ledger.series), dict(ledger.set_aside)
    gained: dict[str, int] = {}
    for sample in samples:
        if sample.started < rules.began and rules.ignore_older:
            continue
        known = series.get(sample.series) or _first_seen(sample, rules)
        after, delta = _gain(known, sample)
        _add(gained if known.warm else aside, delta)
        series[sample.series] = _warmed(after, delta.get(rules.requests, 0), rules)
    if alive is not None:
        kept = set(alive)
        series = {key: value for key, value in series.items() if key in kept}
    totals = dict(ledger.totals)
    _add(totals, gained)
    return Ledger(series, totals, aside), gained


def _first_seen(sample: Sample, rules: Rules) -> Series:
    """Begin a series: from 0 if its container started in this rollout, else from now."""
    if sample.started < rules.began:
        return Series(sample.at, sample.at, dict(sample.counters), warm=True)
    cold = rules.warm_requests > 0 or rules.warm_seconds > 0
    return Series(sample.at, sample.at, {}, warm=not cold)


def _gain(known: Series, sample: Sample) -> tuple[Series, Counts]:
    """Return the series after a sample, and what each counter gained."""
    fell = any(value < known.last.get(name, 0) for name, value in sample.counters.items())
    if fell and sample.at < known.last_seen:
        # An older scrape, from another Prometheus or a cache: no counter was reset.
        return known, {}
    # If one counter fell, the process began anew and so did all its counters.
    last = {} if fell else known.last
    delta = {name: value - last.get(name, 0) for name, value in sample.counters.items()}
    # A counter that is missing in this scrape keeps its value: absent is not zero.
    return replace(known, last={**last, **sample.counters}, last_seen=sample.at), delta


def _warmed(known: Series, requests: int, rules: Rules) -> Series:
    """Say whether what a series gains from now on counts.

    A whole look is set aside or counted: counters do not tell which of its requests came first.
    """
    seen = known.seen_requests + requests
    waited = known.last_seen - known.first_seen >= rules.warm_seconds
    warm = known.warm or (seen >= rules.warm_requests and waited)
    return replace(known, warm=warm, seen_requests=seen)


def _add(into: dict[str, int], delta: Counts) -> None:
    for name, value in delta.items():
        into[name] = into.get(name, 0) + value
