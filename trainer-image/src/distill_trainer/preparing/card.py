"""The data card: what the data is like, counted; nothing is thrown away silently."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def spread(values: Sequence[float] | NDArray[Any]) -> dict[str, float]:
    """Return mean, deviation and quantiles of some numbers; empty for none."""
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 0:
        return {}
    quantiles = {
        f"p{round(100 * share)}": round(float(value), 6)
        for share, value in zip(QUANTILES, np.quantile(numbers, QUANTILES), strict=True)
    }
    return {
        "mean": round(float(numbers.mean()), 6),
        "deviation": round(float(numbers.std()), 6),
        **quantiles,
    }


def histogram(values: Sequence[float] | NDArray[Any], bins: int = 20) -> dict[str, Any]:
    """Return the counts of values between evenly spaced edges."""
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 0:
        return {"edges": [], "counts": []}
    counts, edges = np.histogram(numbers, bins=bins)
    return {"edges": [round(float(edge), 6) for edge in edges], "counts": counts.tolist()}


def dropped(reasons: Sequence[str | None]) -> dict[str, int]:
    """Count what was thrown away by reason, most frequent first."""
    return dict(Counter(reason for reason in reasons if reason is not None).most_common())


def leakage(rows: Sequence[tuple[str, str]], splits: Sequence[str]) -> Mapping[str, int]:
    """Count texts of the test that occur in a train or validation record; must be all zero.

    rows: normalised query and document of the kept records.
    """
    test = {side: {row[side] for row, split in zip(rows, splits, strict=True) if split == "test"}
            for side in (0, 1)}  # fmt: skip
    other = {side: {row[side] for row, split in zip(rows, splits, strict=True) if split != "test"}
             for side in (0, 1)}  # fmt: skip
    return {"queries": len(test[0] & other[0]), "documents": len(test[1] & other[1])}
