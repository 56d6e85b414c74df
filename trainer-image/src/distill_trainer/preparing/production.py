"""How far the training data is from production traffic: lengths, words, groups, and one verdict.

The verdict is a two-sample test by a classifier (Lopez-Paz and Oquab 2017): where it can tell
queries of production from queries of the training data, the student is trained on other texts than
it will see. Divergences are Jensen-Shannon's in bits, from 0 (equal) to 1 (nothing in common).
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from distill_api.names import Reason
from numpy.typing import NDArray

from distill_trainer.context import Context
from distill_trainer.errors import BadInput
from distill_trainer.preparing.near import WORDS, loose
from distill_trainer.sources import fetching, records
from distill_trainer.sources.request import Role

LEAST: Final = 50
"""Different queries below which a sample tells nothing."""
ROWS: Final = 200_000
"""Rows of a sample that are read."""
JUDGED: Final = 4000
"""Queries of each side that the classifier sees."""
FOLDS: Final = 5
TOLD_APART: Final = 0.7
"""Area under the ROC curve above which two sets of queries count as different."""
DIVERGES: Final = 0.1
"""Bits above which two histograms count as different."""
EDGES: Final = (1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 25, 50, 100)
"""Words of a query at which the bars of the histogram begin."""

type Counts = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Queries with the groups that the data names, from production or for training."""

    queries: Sequence[str]
    groups: Sequence[str | None]
    empty: int = 0
    digest: str = ""


def sample(context: Context) -> Traffic | None:
    """Fetch and read data.productionSample; None where the job names none. Raises BadInput."""
    source = context.task.spec.data.production_sample
    if source is None:
        return None
    fetched = fetching.fetch_data(context, source, Role.PRODUCTION)
    try:
        columns = context.task.spec.data.columns
        found = list(records.queries(fetched.path, source.format, columns, ROWS))
    except BadInput as error:
        raise BadInput(error.reason, f"spec.data.productionSample: {error.sentence}") from error
    kept = [one for one in found if one is not None]
    traffic = Traffic([query for query, _ in kept], [group for _, group in kept])
    different = len({loose(query) for query in traffic.queries})
    if different < LEAST:
        raise BadInput(
            Reason.BAD_DATA,
            f"spec.data.productionSample has {different} different queries: at least {LEAST} are"
            " needed to say anything, some thousands are better. Add queries, or remove it",
        )
    return replace(traffic, empty=len(found) - len(kept), digest=fetched.digest)


def compare(training: Traffic, production: Traffic, *, seed: int) -> dict[str, Any]:
    """Describe how production differs from training, for the data card, with a verdict."""
    lengths = [_lengths(side.queries) for side in (training, production)]
    apart = told_apart(training.queries, production.queries, seed=seed)
    groups = _groups(training, production)
    known = {loose(query) for query in training.queries}
    asked = [loose(query) for query in production.queries]
    found: dict[str, Any] = {
        "queries": len(asked),
        "different": len(set(asked)),
        "without_text": production.empty,
        "digest": production.digest,
        "unseen": round(sum(query not in known for query in asked) / len(asked), 4),
        **_words(training.queries, production.queries),
        "lengths": {
            "edges": list(EDGES),
            "training": _shares(lengths[0]),
            "production": _shares(lengths[1]),
            "divergence": divergence(*lengths),
        },
        **({"groups": groups} if groups else {}),
        "classifier": apart,
    }
    return {**found, **verdict(found)}


def verdict(found: Mapping[str, Any]) -> dict[str, str]:
    """Return verdict (matches, differs or undecided) and the sentence that says why."""
    apart = found["classifier"]
    shifts = {name: found[name]["divergence"] for name in ("lengths", "groups") if name in found}
    far = {name: value for name, value in shifts.items() if value > DIVERGES}
    told = (
        f"a classifier tells training and production queries apart with an area under the curve"
        f" of {apart['auc']:.2f} (interval {apart['low']:.2f} to {apart['high']:.2f}; 0.50 is a"
        f" guess, above {TOLD_APART:.2f} counts as different)"
    )
    bits = ", ".join(f"{name} diverge by {value:.2f} bit" for name, value in shifts.items())
    if far or apart["low"] > TOLD_APART:
        return {
            "verdict": "differs",
            "sentence": f"Training and production differ: {told}; {bits}.",
        }
    if apart["high"] <= TOLD_APART:
        return {"verdict": "matches", "sentence": f"Training is like production: {told}; {bits}."}
    return {
        "verdict": "undecided",
        "sentence": f"The sample is too small to tell: {told}; {bits}. Add queries to it.",
    }


def facts(found: Mapping[str, Any] | None) -> dict[str, str]:
    """Return what the report of the stage tells; nothing without a sample."""
    if found is None:
        return {}
    return {
        "productionVerdict": found["verdict"],
        "productionQueries": str(found["queries"]),
        "productionUnseen": f"{found['unseen']:.4f}",
        "productionAuc": f"{found['classifier']['auc']:.4f}",
        "productionLengths": f"{found['lengths']['divergence']:.4f}",
    }


def told_apart(
    training: Sequence[str], production: Sequence[str], *, seed: int
) -> dict[str, float | int]:
    """Return the area under the ROC curve of a cross-validated classifier, with its interval.

    A query that occurs often, or on both sides, is in one fold only, so it cannot be recognised.
    The interval (95 %) is Hanley and McNeil's (1982), over different queries.
    """
    from sklearn.feature_extraction.text import HashingVectorizer  # type: ignore[import-untyped]
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
    from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]
    from sklearn.model_selection import (  # type: ignore[import-untyped]
        StratifiedGroupKFold,
        cross_val_predict,
    )

    sides = [_chosen(queries, seed=[seed, n]) for n, queries in enumerate((training, production))]
    texts = [text for side in sides for text in side]
    truth = np.repeat([0, 1], [len(side) for side in sides])
    numbers: dict[str, int] = {}
    same = [numbers.setdefault(text, len(numbers)) for text in texts]
    hashed = HashingVectorizer(n_features=2**16, ngram_range=(1, 2)).fit_transform(texts)
    # The weight of a column that no text has stays 0, but each step would work on it.
    features = hashed[:, np.unique(hashed.indices)]
    scores = cross_val_predict(
        LogisticRegression(C=10, max_iter=300),
        features,
        truth,
        groups=same,
        cv=StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed),
        method="decision_function",
    )
    auc = float(roc_auc_score(truth, scores))
    error = _auc_error(auc, *(len(set(side)) for side in sides))
    low, high = max(auc - 1.96 * error, 0.0), min(auc + 1.96 * error, 1.0)
    return {"auc": round(auc, 4), "low": round(low, 4), "high": round(high, 4), "seen": len(texts)}


def _chosen(queries: Sequence[str], *, seed: list[int]) -> list[str]:
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(queries))
    return [loose(queries[place]) for place in np.sort(order[:JUDGED])]


def _auc_error(auc: float, positives: int, negatives: int) -> float:
    """Return the standard error of an area under the curve, Hanley and McNeil's formula (1)."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)
    return math.sqrt(max(spread, 0) / (positives * negatives))


def divergence(left: Counts, right: Counts) -> float:
    """Return Jensen-Shannon's divergence of two histograms in bits.

    What equal distributions of so few counts would have by chance is taken off: to second order
    (k - 1) / (8 ln 2) · (1/n + 1/m) for k bars that are not empty on both sides.
    """
    p, q = left / left.sum(), right / right.sum()
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(one > 0, one * np.log2(one / middle), 0).sum() / 2 for one in (p, q)]
    by_chance = (int((middle > 0).sum()) - 1) / (8 * math.log(2))
    chance = by_chance * (1 / left.sum() + 1 / right.sum())
    return round(max(float(sum(parts)) - chance, 0.0), 4)


def _lengths(queries: Sequence[str]) -> Counts:
    """Count queries by their number of words, in the bars of EDGES."""
    words = np.array([max(len(query.split()), 1) for query in queries])
    counts, _ = np.histogram(words, bins=[*EDGES, np.inf])
    return np.asarray(counts, dtype=np.float64)


def _shares(counts: Counts) -> list[float]:
    return [round(float(share), 6) for share in counts / counts.sum()]


def _words(training: Sequence[str], production: Sequence[str]) -> dict[str, Any]:
    """Compare words: how many of production's are never trained on, and which ones most often."""
    known = Counter(word for query in training for word in WORDS.findall(query.casefold()))
    asked = Counter(word for query in production for word in WORDS.findall(query.casefold()))
    new = Counter({word: count for word, count in asked.items() if word not in known})
    every = list(dict.fromkeys([*known, *asked]))
    sides = [np.array([side[word] for word in every], dtype=np.float64) for side in (known, asked)]
    return {
        "unknown_words": round(new.total() / max(asked.total(), 1), 4),
        "frequent_unknown": [word[:40] for word, _ in new.most_common(10)],
        "words_divergence": divergence(*sides) if all(side.sum() for side in sides) else 1.0,
    }


def _groups(training: Traffic, production: Traffic) -> dict[str, Any] | None:
    """Compare the shares of groups; None where either side names none."""
    sides = [Counter(one for one in side.groups if one is not None)
             for side in (training, production)]  # fmt: skip
    if not all(sides):
        return None
    every = sorted(set(sides[0]) | set(sides[1]))
    counts = [np.array([side[name] for name in every], dtype=np.float64) for side in sides]
    return {
        "names": len(every),
        "unseen": sum(name not in sides[0] for name in sides[1]),
        "divergence": divergence(counts[0], counts[1]),
    }
