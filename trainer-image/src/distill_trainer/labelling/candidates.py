"""Which documents a reranker's teacher scores for each query, and the file that lists them.

Known documents and given negatives come first; the list is filled with documents that share rare
words with the query (TF-IDF, as no embedding model is at hand) and some drawn at random, so that
it holds hard and easy ones. Nothing here depends on splits, so that jobs share their labels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from distill_trainer.labelling.corpus import Corpus, normal

LISTS: Final = "lists.parquet"
RANDOM_SHARE: Final = 4
"""One in so many documents of a list is drawn at random."""
BLOCK: Final = 20_000_000
"""Similarities of queries and documents that are held at once."""
WORD: Final = r"(?u)\b\w+\b"
"""A word of one letter is one, too."""
SCHEMA: Final = pa.schema(
    [("query_id", pa.int32()), ("document_id", pa.int32()), ("source", pa.string())]
)

type Ids = NDArray[np.int64]


class Source(StrEnum):
    """Why a document is in a list."""

    KNOWN = "known"
    GIVEN = "given"
    LEXICAL = "lexical"
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Entry:
    """A pair that the teacher scores: places among the queries and among the documents."""

    query: int
    document: int
    source: Source


def choose(corpus: Corpus, size: int) -> list[Entry]:
    """List the pairs, query after query: `size` documents each, more where as many are known."""
    documents = list(corpus.documents)
    twins = [normal(text) for text in documents]
    known, given = _named(corpus)
    entries: list[Entry] = []
    near = _nearest(list(corpus.queries), documents, size + max(map(len, known), default=0))
    for query, neighbours in enumerate(near):
        chosen = _Chosen(query, twins)
        chosen.take(known[query], Source.KNOWN, None)
        chosen.take(given[query], Source.GIVEN, None)
        lexical = size - size // RANDOM_SHARE
        chosen.take(neighbours.tolist(), Source.LEXICAL, lexical)
        chosen.take(_drawn(query, len(documents), size), Source.RANDOM, size)
        entries += chosen.entries
    return entries


class _Chosen:
    """One query's list while it is filled; no text is taken twice."""

    def __init__(self, query: int, twins: list[str]) -> None:
        self.query, self.twins = query, twins
        self.entries: list[Entry] = []
        self.seen: set[str] = set()

    def take(self, documents: list[int], source: Source, limit: int | None) -> None:
        """Append documents until the list has `limit` entries."""
        for document in documents:
            if limit is not None and len(self.entries) >= limit:
                return
            if self.twins[document] not in self.seen:
                self.seen.add(self.twins[document])
                self.entries.append(Entry(self.query, document, source))


def _named(corpus: Corpus) -> tuple[list[list[int]], list[list[int]]]:
    """Return known documents and given negatives of each query."""
    known: list[list[int]] = [[] for _ in corpus.queries]
    given: list[list[int]] = [[] for _ in corpus.queries]
    for query, document, _, _, negatives in corpus.records:
        if query >= 0:
            known[query].append(document)
            given[query] += negatives
    return known, given


def _nearest(queries: list[str], documents: list[str], depth: int) -> Iterator[Ids]:
    """Yield for each query the documents that are nearest by TF-IDF; none that share no word."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # type: ignore[import-untyped]

    vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=WORD, dtype=np.float32)
    try:
        matrix = vectorizer.fit_transform(documents)
    except ValueError:  # no document has a word
        yield from (np.empty(0, dtype=np.int64) for _ in queries)
        return
    at_once = max(BLOCK // max(len(documents), 1), 1)
    for begin in range(0, len(queries), at_once):
        asked = vectorizer.transform(queries[begin : begin + at_once])
        for row in (asked @ matrix.T).toarray():
            near = np.flatnonzero(row > 0)
            # Ties go to the earlier document, so that the list is the same everywhere.
            yield near[np.lexsort((near, -row[near]))][:depth]


def _drawn(query: int, documents: int, size: int) -> list[int]:
    """Draw some documents at random: more than are needed, as the nearest may be among them."""
    generator = np.random.Generator(np.random.PCG64([documents, query]))
    count = min(documents, 4 * size + 8)
    return [int(place) for place in generator.choice(documents, count, replace=False)]


def write(entries: list[Entry], first: int, path: Path) -> None:
    """Write the pairs by text id; first: id of the first document."""
    columns = {
        "query_id": [entry.query for entry in entries],
        "document_id": [first + entry.document for entry in entries],
        "source": [entry.source.value for entry in entries],
    }
    parquet.write_table(pa.table(columns, SCHEMA), path)
