"""The training split as index arrays: which query has which document and which hard negatives."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Records by text id, and the documents that belong to no record."""

    queries: Ids
    """[records]: text id of the query."""
    documents: Ids
    """[records]: text id of a document that answers it."""
    negatives: Ids
    """[records, k]: text ids of hard negatives, -1 where there is none; k may be 0."""
    lone: Ids
    """[lone]: texts of the split that are in no record; only losses to the teacher use them."""

    def __len__(self) -> int:
        """Count the records."""
        return len(self.queries)

    def some(self, rows: NDArray[np.bool_]) -> "Pairs":
        """Return the records of some rows [records]."""
        return Pairs(self.queries[rows], self.documents[rows], self.negatives[rows], self.lone)

    @property
    def compared(self) -> NDArray[np.bool_]:
        """Whether a record has a document that its own is compared with: [records]."""
        return np.asarray((self.negatives >= 0).any(axis=1))

    def answers(self) -> dict[int, frozenset[int]]:
        """Text id of a query → text ids of every document that is known to answer it."""
        known: defaultdict[int, set[int]] = defaultdict(set)
        for query, document in zip(self.queries.tolist(), self.documents.tolist(), strict=True):
            known[query].add(document)
        return {query: frozenset(documents) for query, documents in known.items()}


def load(prepared: Path, split: str) -> Pairs:
    """Read one split of what the prepare stage left."""
    records = pq.read_table(
        prepared / "records.parquet", columns=["query_id", "document_id", "split"]
    )
    chosen = _is(records["split"], split)
    queries, documents = (
        records[name].to_numpy().astype(np.int64)[chosen] for name in ("query_id", "document_id")
    )
    negatives = np.load(prepared / "negatives.npy", mmap_mode="r")[chosen].astype(np.int64)
    texts = pq.read_table(prepared / "texts.parquet", columns=["id", "split"])
    of_split = texts["id"].to_numpy().astype(np.int64)[_is(texts["split"], split)]
    lone = np.setdiff1d(of_split, np.concatenate([queries, documents]))
    return Pairs(queries, documents, negatives, lone)


def _is(column: pa.ChunkedArray, value: str) -> NDArray[np.bool_]:
    """Where a column of strings, with nulls, has the value."""
    return np.array([entry == value for entry in column.to_pylist()], dtype=np.bool_)
