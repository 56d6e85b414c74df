"""Balances training by difficulty: hard records are repeated until they are as many as easy ones.

The guide's "balance difficulty". Difficulty is the teacher's score margin: how far the document
lies above the nearest hard negative. Its range is cut into parts of equal width, and the records of
a rare part are repeated. As the copies are made here, training stays a pure function of seed and
step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

NAMES: Final = ("hard", "medium", "easy")
MOST_COPIES: Final = 8
"""Of one record: more would be learnt by heart."""
BY_MARGIN: Final = "the teacher's margin over the hardest negative"
BY_LIKELIHOOD: Final = "the teacher's mean log-probability of its answer's tokens"
TAILS: Final = (0.01, 0.99)
"""Quantiles between which the range of margins is cut: single outliers do not stretch it."""

type Numbers = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Balance:
    """How often each record is drawn in an epoch."""

    parts: NDArray[np.int64]
    """Index into NAMES of each record."""
    copies: NDArray[np.int64]
    """Times of each record, at least 1."""
    edges: tuple[float, ...]
    """Margins at which one part ends and the next begins."""

    def card(self) -> Mapping[str, Any]:
        """Tell records and draws of each part, for the data card."""
        return {
            "edges": [round(edge, 6) for edge in self.edges],
            "parts": {
                name: {
                    "records": int((self.parts == part).sum()),
                    "drawn": int(self.copies[self.parts == part].sum()),
                }
                for part, name in enumerate(NAMES)
            },
        }


def margins(positive: Numbers, negatives: Numbers) -> Numbers:
    """Return the teacher's margins: [records].

    positive: its scores of the right documents, [records]. negatives: those of the hard negatives,
    [records, k], NaN where there is none; without any, the margin is to 0.
    """
    if negatives.shape[1] == 0:
        return positive
    hardest = np.where(np.isnan(negatives), -np.inf, negatives).max(axis=1)
    return np.asarray(positive - np.where(np.isfinite(hardest), hardest, 0), dtype=np.float32)


def balance(found: Numbers, *, seed: int) -> Balance:
    """Say how often each record is drawn so that hard and easy ones come up equally often."""
    low, high = np.quantile(found, TAILS) if len(found) else (0.0, 0.0)
    edges = np.linspace(low, high, len(NAMES) + 1)[1:-1]
    parts = np.searchsorted(edges, found, side="right").astype(np.int64)
    copies = np.ones(len(found), dtype=np.int64)
    if high - low > 1e-6:
        most = max(int((parts == part).sum()) for part in range(len(NAMES)))
        for part in range(len(NAMES)):
            rows = np.flatnonzero(parts == part)
            copies[rows] = _copies(len(rows), most, seed=[seed, part])
    return Balance(parts, copies, tuple(float(edge) for edge in edges))


def _copies(records: int, wanted: int, *, seed: list[int]) -> NDArray[np.int64]:
    """Spread `wanted` draws over records as evenly as can be."""
    if records == 0:
        return np.empty(0, dtype=np.int64)
    whole, rest = divmod(min(wanted, records * MOST_COPIES), records)
    copies = np.full(records, whole, dtype=np.int64)
    copies[np.random.Generator(np.random.PCG64(seed)).permutation(records)[:rest]] += 1
    return copies


def rows(records: int, train: NDArray[np.int64], found: Balance) -> NDArray[np.int64]:
    """Return the rows to write: every record once in its order, then the further copies.

    train: the rows that the balance is about, [train]. Returns [records + copies].
    """
    again = np.repeat(train, found.copies - 1)
    return np.concatenate([np.arange(records), again])
