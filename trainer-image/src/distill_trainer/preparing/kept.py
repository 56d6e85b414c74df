"""The records that are left after filtering, and the teacher's scores of pairs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill_trainer.labelling.shards import Embeddings
from distill_trainer.preparing import negatives
from distill_trainer.preparing.negatives import Ids


@dataclass(frozen=True, slots=True)
class Kept:
    """The records that are left, by column."""

    queries: Ids
    documents: Ids
    groups: list[str]
    splits: list[str]
    scores: NDArray[np.float32]
    given: list[list[int]]
    """Negatives that the data names."""


def taken(kept: Kept, rows: NDArray[np.int64]) -> Kept:
    """Return the records of some rows, in their order."""
    return Kept(
        queries=kept.queries[rows],
        documents=kept.documents[rows],
        groups=[kept.groups[row] for row in rows],
        splits=[kept.splits[row] for row in rows],
        scores=kept.scores[rows],
        given=[kept.given[row] for row in rows],
    )


def cosines(embeddings: Embeddings, queries: Ids, documents: Ids) -> NDArray[np.float32]:
    """Return the teacher's cosine of each pair [pairs], in parts so that little is held at once.

    embeddings: [texts, width]. queries, documents: text ids [pairs].
    """
    parts = [
        np.einsum(
            "ij,ij->i",
            negatives.unit(embeddings[queries[start : start + 4096]]),
            negatives.unit(embeddings[documents[start : start + 4096]]),
        )
        for start in range(0, len(queries), 4096)
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)
