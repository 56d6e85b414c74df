"""The data card: what the data is like, counted; nothing is thrown away silently."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill_trainer.preparing.near import loose, repeats
from distill_trainer.preparing.splits import ORDER

CLOSE = 0.98
"""Cosine of the teacher's embeddings from which two queries count as nearly the same."""
CLOSE_BY_LETTERS = 0.9
"""Likewise of counts of letters."""
WITHOUT_TEXT = "without text"
"""Rows that held nothing to read; they are dropped before there are records."""
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


def groups(named: Sequence[str], splits: Sequence[str]) -> dict[str, int]:
    """Count the different groups of each split."""
    pairs = set(zip(named, splits, strict=True))
    return {name: sum(own == name for _, own in pairs) for name in ORDER}


def of_records(
    rows: Sequence[tuple[str, str]], named: Sequence[str], splits: Sequence[str]
) -> dict[str, Any]:
    """Tell what the card of every component says of its records: counts, groups, what leaks.

    rows: normalised query and document of the kept records; named: their groups.
    """
    return {
        "records": {name: list(splits).count(name) for name in ORDER},
        "groups": groups(named, splits),
        "leakage": leakage(rows, splits),
        "near_duplicates": repeats(rows),
    }


def close(test: NDArray[np.float32], train: NDArray[np.float32]) -> dict[str, Any]:
    """Count the test's queries that nearly repeat one of the training split, by the teacher.

    test, train: embeddings of length 1, [queries, width]. A number to look at, not a filter: a
    teacher may also find two different questions equal.
    """
    if not len(test) or not len(train):
        return {}
    return _close((test @ train.T).max(axis=1), CLOSE, "the teacher's embeddings")


def close_by_letters(test: Sequence[str], train: Sequence[str]) -> dict[str, Any]:
    """Count them likewise by the runs of three to five letters, for teachers that embed nothing."""
    from sklearn.feature_extraction.text import HashingVectorizer  # type: ignore[import-untyped]

    test, train = list(dict.fromkeys(test))[:1000], list(dict.fromkeys(train))[:20_000]
    if not test or not train:
        return {}
    made = HashingVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), n_features=2**18, alternate_sign=False
    )
    cosines = made.transform(test) @ made.transform(train).T
    nearest = np.asarray(cosines.max(axis=1).todense(), dtype=np.float64).ravel()
    return _close(nearest, CLOSE_BY_LETTERS, "their letters")


def _close(nearest: NDArray[Any], least: float, by: str) -> dict[str, Any]:
    found = int((nearest >= least).sum())
    return {
        "by": by,
        "cosine": least,
        "queries": found,
        "of": len(nearest),
        "share": round(found / len(nearest), 4),
    }


def leakage(rows: Sequence[tuple[str, str]], splits: Sequence[str]) -> Mapping[str, int]:
    """Count texts of the test that occur in a train or validation record; must be all zero.

    rows: normalised query and document of the kept records, compared by their words alone.
    """
    rows = [(loose(query), loose(document)) for query, document in rows]
    test = {side: {row[side] for row, split in zip(rows, splits, strict=True) if split == "test"}
            for side in (0, 1)}  # fmt: skip
    other = {side: {row[side] for row, split in zip(rows, splits, strict=True) if split != "test"}
             for side in (0, 1)}  # fmt: skip
    return {"queries": len(test[0] & other[0]), "documents": len(test[1] & other[1])}
