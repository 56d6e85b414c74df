"""A page of counters in Prometheus' text format, or the same from its API: whole numbers only."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from prometheus_client.parser import text_string_to_metric_families

from distill_operator.errors import NotYet

type Labels = Mapping[str, str]
type Keep = Callable[[Labels], bool]

_ENDINGS: Final = ("_bucket", "_count", "_sum", "_total")


@dataclass(frozen=True, slots=True)
class Sample:
    """One series at one moment."""

    name: str
    labels: Labels
    value: float

    @property
    def counter(self) -> str:
        """The name without the ending that the parser gives to counters which have none."""
        return self.name.removesuffix("_total")


@dataclass(frozen=True, slots=True)
class Page:
    """The samples of one process."""

    samples: tuple[Sample, ...] = ()
    declared: frozenset[str] = field(default_factory=frozenset)
    """Families that the process counts, also those without a sample yet, without endings."""

    @classmethod
    def parse(cls, text: str, families: Iterable[str]) -> Self:
        """Return these families of a page; NotYet where it is none."""
        wanted = tuple(families)
        # Servers have thousands of series, and the event loop should not wait for all of them.
        lines = [line for line in text.splitlines() if any(name in line for name in wanted)]
        try:
            found = list(text_string_to_metric_families("\n".join(lines) + "\n"))
        except (ValueError, KeyError, IndexError) as error:
            raise NotYet(f"the answer is no page of Prometheus' text format: {error}") from error
        samples = tuple(
            Sample(s.name, dict(s.labels), s.value) for family in found for s in family.samples
        )
        return cls(samples, frozenset(stem(family.name) for family in found))

    def has(self, name: str) -> bool:
        """Tell whether the process counts this at all."""
        return stem(name) in self.declared

    def total(self, name: str, keep: Keep = lambda _: True) -> int:
        """Return the sum of a counter over its series; 0 where it is declared and has none.

        NotYet where the process does not count it: absent is not zero.
        """
        if not self.has(name):
            raise NotYet(f"the page has no {name}")
        wanted = name.removesuffix("_total")
        return sum(_whole(s) for s in self.samples if s.counter == wanted and keep(s.labels))

    def bounds(self, histogram: str) -> list[float]:
        """Return the finite ends of a histogram's buckets, sorted."""
        found = {
            float(s.labels["le"])
            for s in self.samples
            if s.name == f"{histogram}_bucket" and "le" in s.labels
        }
        return sorted(bound for bound in found if bound != float("inf"))

    def beyond(self, histogram: str, bound: float) -> tuple[int, int]:
        """Return how many observations there were, and how many of them were above a bound.

        NotYet where no bucket ends exactly there: what lies between two ends is not known.
        """
        everything = self.total(f"{histogram}_count")
        if everything == 0:
            return 0, 0
        known = self.bounds(histogram)
        # `le` is text, and "2" and "2.0" are the same bound.
        if not any(_same(bound, end) for end in known):
            ends = ", ".join(f"{end:g}" for end in known)
            raise NotYet(f"{histogram} has no bucket that ends at {bound:g}, only at {ends}")
        within = self.total(f"{histogram}_bucket", lambda labels: _same(bound, float(labels["le"])))
        return everything, max(0, everything - within)


def stem(name: str) -> str:
    """Return the name of a family without the ending of its samples."""
    for ending in _ENDINGS:
        if name.endswith(ending):
            return name.removesuffix(ending)
    return name


def _same(one: float, other: float) -> bool:
    return abs(one - other) <= 1e-9 * max(1.0, abs(one))


def _whole(sample: Sample) -> int:
    if not (sample.value >= 0 and float(sample.value).is_integer()):
        raise NotYet(f"{sample.name} is {sample.value}: expected a whole number of requests")
    return int(sample.value)
