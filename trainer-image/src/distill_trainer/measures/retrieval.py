"""Exact search by cosine, and retrieval's measures of what it finds, one value for each query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ir_measures
import numpy as np
import torch
from ir_measures import AP, RR, R, nDCG
from numpy.typing import NDArray
from torch import Tensor

from distill_trainer.losses.reduction import unit

BLOCK = 256
"""Queries compared with all documents at once."""

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


def search(queries: Tensor, documents: Tensor, depth: int) -> Ranking:
    """Find the depth nearest documents of each query; queries, documents [rows, width].

    Compares with every document, as the measures should tell about the model and not an index.
    """
    documents = unit(documents)
    depth = min(depth, len(documents))
    found = [
        torch.topk(unit(block) @ documents.T, depth, dim=1) for block in torch.split(queries, BLOCK)
    ]
    return Ranking(
        torch.cat([top.indices for top in found]).cpu().numpy(),
        torch.cat([top.values for top in found]).cpu().numpy(),
    )


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
