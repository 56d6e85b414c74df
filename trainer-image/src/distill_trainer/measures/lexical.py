"""Search by words (BM25) and the union of several searches, for what has no embedding model.

BM25: Robertson and Zaragoza 2009, in Lucene's form, whose weights are never negative. Union by
reciprocal rank fusion: Cormack, Clarke and Büttcher 2009, SIGIR, with their constant of 60.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from distill_common.measures import Ranking
from numpy.typing import NDArray

K1: Final = 1.2
B: Final = 0.75
FUSION: Final = 60
"""Added to each rank: the larger, the less the first places weigh."""
DEPTH: Final = 100
"""Documents of one search that take part in a union."""
WORD: Final = r"(?u)\b\w+\b"
"""A word of one letter is one, too."""
NOTHING: Final = -1
"""Stands for a document where fewer were found."""

type Found = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Index:
    """Documents as weights of their words."""

    vectorizer: Any
    weights: Any
    """Sparse [documents, words]; None where no document has a word."""


def index(documents: Sequence[str]) -> Index:
    """Weigh the words of documents."""
    from scipy import sparse  # type: ignore[import-untyped]
    from sklearn.feature_extraction.text import CountVectorizer  # type: ignore[import-untyped]

    vectorizer = CountVectorizer(token_pattern=WORD, dtype=np.float64)
    try:
        counts = vectorizer.fit_transform(documents).tocoo()
    except ValueError:  # no document has a word
        return Index(vectorizer, None)
    lengths = np.asarray(counts.sum(axis=1)).ravel()
    holding = np.bincount(counts.col, minlength=counts.shape[1])
    idf = np.log1p((len(documents) - holding + 0.5) / (holding + 0.5))
    norm = K1 * (1 - B + B * lengths / lengths.mean())
    values = idf[counts.col] * counts.data / (counts.data + norm[counts.row])
    made = sparse.csr_matrix((values, (counts.row, counts.col)), shape=counts.shape)
    return Index(vectorizer, made)


def search(index: Index, queries: Sequence[str], depth: int = DEPTH) -> list[Found]:
    """Return the documents found for each query, best first; none that share no word with it."""
    if index.weights is None or not queries:
        return [np.empty(0, dtype=np.int64) for _ in queries]
    asked = index.vectorizer.transform(queries)
    asked.data[:] = 1  # a word that a query repeats is not meant twice
    found = []
    for row in range(len(queries)):
        scores = (asked[row] @ index.weights.T).toarray().ravel()
        near = np.flatnonzero(scores > 0)
        # Ties go to the earlier document, so that the order is the same everywhere.
        found.append(near[np.lexsort((near, -scores[near]))][:depth])
    return found


def union(rankings: Sequence[Found]) -> Found:
    """Fuse the results of several searches: the sum of 1 / (60 + rank) decides."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, document in enumerate(ranking.tolist(), start=1):
            scores[document] = scores.get(document, 0.0) + 1 / (FUSION + rank)
    ordered = sorted(scores, key=lambda document: (-scores[document], document))
    return np.array(ordered, dtype=np.int64)


def ranking(found: Sequence[Found], depth: int) -> Ranking:
    """Return results as the measures take them, cut or filled up to depth."""
    documents = np.full((len(found), depth), NOTHING, dtype=np.int64)
    for row, one in enumerate(found):
        documents[row, : min(len(one), depth)] = one[:depth]
    return Ranking(documents, np.zeros(documents.shape, dtype=np.float32))
