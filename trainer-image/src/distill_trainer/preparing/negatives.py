"""Mines hard negatives: documents that the teacher finds close to a query and that are no answer.

Exact search over the cached embeddings. sentence_transformers.util.mine_hard_negatives embeds
anew and works on datasets of texts; its rules for range and relative margin are the same here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from distill_api.data import HardNegatives
from numpy.typing import NDArray

CHUNK: Final = 512
"""Queries of one matrix product: 512 rows of similarities to a million documents are 2 GB."""
NONE: Final = -1

type Matrix = NDArray[np.float32]
type Ids = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Pool:
    """The documents that may become negatives."""

    ids: Ids
    """Text ids, rising."""
    vectors: Matrix
    """[documents, width], of length 1."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A record that needs negatives."""

    query: int
    """Text id."""
    positive: float
    """Cosine of query and positive."""
    known: frozenset[int]
    """Documents that answer the query, or say the same as one that does."""
    given: tuple[int, ...] = ()
    """Negatives that the data names; they come first."""


def unit(vectors: Matrix) -> Matrix:
    """Scale rows to length 1; a row of zeros stays."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12), dtype=np.float32)


def mine(
    anchors: Sequence[Anchor],
    embeddings: Matrix,
    pool: Pool,
    settings: HardNegatives,
    tell: Callable[[int, int], None] = lambda _done, _total: None,
) -> Ids:
    """Return for each anchor the nearest allowed documents, [anchors, width], -1 where none is.

    embeddings: of all texts, by id. Equal scores go by the smaller id.
    """
    most = max([len(anchor.given) for anchor in anchors], default=0)
    width = max(settings.per_query, most)
    mined = np.full((len(anchors), width), NONE, dtype=np.int32)
    for start in range(0, len(anchors), CHUNK):
        chunk = anchors[start : start + CHUNK]
        near, scores = _nearest(chunk, embeddings, pool, settings)
        for row, anchor in enumerate(chunk):
            found = _choose(anchor, near[row], scores[row], settings)
            mined[start + row, : len(found)] = found
        tell(min(start + CHUNK, len(anchors)), len(anchors))
    return mined


def _nearest(
    chunk: Sequence[Anchor], embeddings: Matrix, pool: Pool, settings: HardNegatives
) -> tuple[Ids, Matrix]:
    """Return ids and cosines of the nearest documents of each query, nearest first."""
    # Known answers are skipped before the range is counted, so look that much further.
    extra = max(len(anchor.known) for anchor in chunk)
    count = min(settings.range_max + extra, len(pool.ids))
    queries = unit(embeddings[[anchor.query for anchor in chunk]])
    scores = queries @ pool.vectors.T
    if count == 0:
        return np.empty((len(chunk), 0), np.int32), np.empty((len(chunk), 0), np.float32)
    top = np.sort(np.argpartition(-scores, count - 1, axis=1)[:, :count], axis=1)
    top_scores = np.take_along_axis(scores, top, axis=1)
    order = np.argsort(-top_scores, axis=1, kind="stable")
    return (
        pool.ids[np.take_along_axis(top, order, axis=1)],
        np.take_along_axis(top_scores, order, axis=1),
    )


def _choose(anchor: Anchor, near: Ids, scores: Matrix, settings: HardNegatives) -> list[int]:
    """Apply range and margin to one query's neighbours."""
    chosen = list(anchor.given)
    others = [
        (int(document), float(score))
        for document, score in zip(near, scores, strict=True)
        if int(document) not in anchor.known
    ]
    # At least this share below the positive; with a positive near 0 nothing is called hard.
    highest = anchor.positive * (1 - settings.relative_margin)
    for document, score in others[settings.range_min : settings.range_max]:
        if len(chosen) >= settings.per_query:
            break
        if score <= highest and document not in chosen:
            chosen.append(document)
    return chosen


def known_answers(
    queries: Sequence[int], documents: Sequence[int], twins: Mapping[int, frozenset[int]]
) -> dict[int, frozenset[int]]:
    """Return for each query all documents that answer it.

    twins: for a document those whose text is the same after normalising.
    """
    answers: dict[int, set[int]] = {}
    for query, document in zip(queries, documents, strict=True):
        answers.setdefault(query, set()).update(twins.get(document, {document}))
    return {query: frozenset(found) for query, found in answers.items()}
