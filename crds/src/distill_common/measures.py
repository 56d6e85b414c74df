"""Retrieval's measures of what was found for each query, as trec_eval computes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ir_measures
import numpy as np
from ir_measures import AP, RR, R, nDCG
from numpy.typing import NDArray

# By object: ir-measures' own parser of names needs ast.Num, which Python 3.14 has not.
KNOWN: Mapping[str, Any] = {
    str(measure): measure for measure in (R @ 1, R @ 10, nDCG @ 10, AP, AP @ 1000, RR, RR @ 10)
}
"""Name in ir-measures' notation → measure."""

Relevant = Mapping[int, frozenset[int]]
"""Row of a query → rows of the documents that answer it."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The documents found for each query, best first."""

    documents: NDArray[np.int64]
    """[queries, depth]: rows of documents."""
    scores: NDArray[np.float32]
    """[queries, depth]: their cosines."""


def per_query(
    measures: Sequence[str], relevant: Relevant, ranking: Ranking
) -> dict[str, NDArray[np.float64]]:
    """Measure, in ir-measures' notation → value for each query [queries], in their order.

    Raises ValueError for a query without a relevant document, as no measure means anything for
    it, and KeyError for a measure that is not one of retrieval.
    """
    if any(not relevant.get(query) for query in range(len(ranking.documents))):
        raise ValueError("each query needs at least one relevant document")
    wanted = {KNOWN[measure]: measure for measure in measures}
    judged = {str(query): {str(d): 1 for d in found} for query, found in relevant.items()}
    values = {measure: np.full(len(ranking.documents), np.nan) for measure in measures}
    for metric in ir_measures.iter_calc(list(wanted), judged, _run(ranking)):
        values[wanted[metric.measure]][int(metric.query_id)] = metric.value
    return values


def _run(ranking: Ranking) -> dict[str, dict[str, float]]:
    """Return the ranking as trec_eval wants it: the place instead of the cosine, against ties."""
    depth = ranking.documents.shape[1]
    return {
        str(query): {str(document): float(depth - place) for place, document in enumerate(row)}
        for query, row in enumerate(ranking.documents.tolist())
    }
