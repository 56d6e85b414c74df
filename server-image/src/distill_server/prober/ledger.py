"""The pairs of one run, by the number of their query; each query counts once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from distill_api.probing import Pairs

MOST: Final = 10_000
"""Queries in one answer; whoever asks goes on behind them."""

type Pair = tuple[float, float]
"""Student, teacher."""


@dataclass(frozen=True, slots=True)
class Run:
    """What is compared in a run."""

    material: str
    teacher: str
    student: str
    """Digests."""
    once: str = ""
    """Of mirrored queries: a word of this process alone, as others will come after a restart."""

    @property
    def name(self) -> str:
        """The same after a restart with the same data and models, but for mirrored queries."""
        parts = (self.material, self.teacher, self.student, self.once)
        return "-".join(part.removeprefix("sha256:")[:20] for part in parts if part)


class Ledger:
    """Pairs in the order of the queries, handed over once all before them are settled.

    A query is one sample: sent a second time it is the same sample, so what repeats bring is no
    evidence and does not come in here.
    """

    def __init__(self, run: Run, metrics: tuple[str, ...], queries: int) -> None:
        self.run, self._metrics, self.queries = run, metrics, queries
        self._settled: dict[int, Mapping[str, Pair] | None] = {}
        self.total = 0

    def settle(self, number: int, pairs: Mapping[str, Pair] | None) -> bool:
        """Say what became of a query, None if it was given up; False where that is known."""
        if number in self._settled:
            return False
        self._settled[number] = pairs
        while self.total + 1 in self._settled:
            self.total += 1
        return True

    def after(self, number: int, failing: str | None = None) -> Pairs:
        """Return the pairs with higher numbers than this one."""
        last = min(self.total, number + MOST)
        found = {
            n: pairs for n in range(number + 1, last + 1) if (pairs := self._settled[n]) is not None
        }
        return Pairs(
            run=self.run.name,
            total=last,
            queries=self.queries,
            numbers=list(found),
            scores={m: [pairs[m] for pairs in found.values()] for m in self._metrics},
            failing=failing,
        )
