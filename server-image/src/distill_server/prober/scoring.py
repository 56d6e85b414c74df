"""From what an arm computed for a query to the value of each measure."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from distill_common import measures
from distill_common.measures import Ranking
from numpy.typing import NDArray

DEPTH: Final = 1000
"""Documents ranked, as the evaluate stage and trec_eval do."""


def measured(
    scores: NDArray[np.float32], answers: int, wanted: Mapping[str, str]
) -> dict[str, float]:
    """Return metric to value, each 0 to 1, of one query.

    scores: [candidates], the first `answers` of which answer the query. wanted: metric to measure.
    Equal scores are a tie that the answers lose: a model that tells nothing apart finds nothing.
    """
    order = np.lexsort((-np.arange(len(scores)), -scores))[:DEPTH]
    ranking = Ranking(order[None, :].astype(np.int64), scores[order][None, :])
    names: Sequence[str] = sorted(set(wanted.values()))
    found = measures.per_query(names, {0: frozenset(range(answers))}, ranking)
    # A sum of floats may exceed 1 by its last bit.
    return {metric: min(1.0, max(0.0, float(found[name][0]))) for metric, name in wanted.items()}


def cosines(query: NDArray[np.float32], documents: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return [documents]: cosines of a query [width] with documents [documents, width] of length 1.

    The documents stay the same for a whole run, so their lengths are not taken for each query.
    """
    return np.asarray(documents @ unit(query), dtype=np.float32)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows at length 1; one of length 0 stays."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, np.finfo(np.float32).tiny), dtype=np.float32)
