"""The texts that the teacher reads, each once, and the records that refer to them by number."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa
from pyarrow import parquet

from distill_trainer.sources.records import Record

TEXTS: Final = "texts.parquet"
RECORDS: Final = "records.parquet"
QUERY: Final = "query"
DOCUMENT: Final = "document"

TEXT_SCHEMA: Final = pa.schema([("id", pa.int32()), ("kind", pa.string()), ("text", pa.string())])
RECORD_SCHEMA: Final = pa.schema(
    [
        ("query_id", pa.int32()),
        ("document_id", pa.int32()),
        ("group", pa.string()),
        ("score", pa.float32()),
        ("negatives", pa.list_(pa.int32())),
    ]
)


@dataclass(slots=True)
class Corpus:
    """Unique queries and documents in their order of appearance.

    In the files queries come first: text ids are 0..queries-1 and queries..queries+documents-1.
    """

    queries: dict[str, int] = field(default_factory=dict)
    documents: dict[str, int] = field(default_factory=dict)
    records: list[tuple[int, int, str | None, float | None, list[int]]] = field(
        default_factory=list
    )
    """Query or -1, document, group, score, negatives; by place among queries or documents."""
    empty_rows: list[int] = field(default_factory=list)
    """Rows without a document's text, counted from 1."""
    first: dict[str, int] = field(default_factory=dict)
    """The row, counted from 1, in which a group comes up first."""
    refused: list[tuple[str, int]] = field(default_factory=list)
    """Query and place of a document that the data's score says does not answer it."""
    rejected: int = 0
    """Rows that say so."""

    @property
    def empty(self) -> int:
        """Count the rows without a document's text."""
        return len(self.empty_rows)

    @property
    def rows(self) -> int:
        """Count the rows of the data."""
        return len(self.records) + self.empty + self.rejected

    def add(self, record: Record | None) -> None:
        """Take in a row."""
        if record is None:
            self.empty_rows.append(self.rows + 1)
            return
        document = _place(self.documents, record.document)
        negatives = [_place(self.documents, text) for text in record.negatives]
        if record.query is not None and not record.answers:
            self.rejected += 1
            self.refused += [(record.query, place) for place in (document, *negatives)]
            return
        query = -1 if record.query is None else _place(self.queries, record.query)
        self.records.append((query, document, record.group, record.score, negatives))
        if record.group is not None:
            self.first.setdefault(record.group, self.rows)

    def close(self) -> None:
        """Give every query the documents that are known not to answer it as negatives."""
        by_query: dict[int, dict[int, None]] = {}
        for text, document in self.refused:
            if (query := self.queries.get(text)) is not None:
                by_query.setdefault(query, {})[document] = None
        for query, _, _, _, negatives in self.records:
            own = set(negatives)
            negatives += [one for one in by_query.get(query, ()) if one not in own]

    def texts(self) -> list[str]:
        """Return all texts by id."""
        return [*self.queries, *self.documents]

    def asked(self) -> tuple[list[tuple[str, str]], list[str | None]]:
        """Return normalised query and document, and the group, of each record with a query."""
        queries = [normal(text) for text in self.queries]
        documents = [normal(text) for text in self.documents]
        rows = [row for row in self.records if row[0] >= 0]
        return [(queries[row[0]], documents[row[1]]) for row in rows], [row[2] for row in rows]

    def pairs(self) -> int:
        """Count different pairs of query and document, normalised."""
        return len(set(self.asked()[0]))


def normal(text: str) -> str:
    """Return a text without differences of case and spaces."""
    return " ".join(text.casefold().split())


def _place(known: dict[str, int], text: str) -> int:
    return known.setdefault(text, len(known))


def collect(records: Iterable[Record | None]) -> Corpus:
    """Take in records."""
    corpus = Corpus()
    for record in records:
        corpus.add(record)
    corpus.close()
    return corpus


def write(corpus: Corpus, folder: Path) -> None:
    """Write texts.parquet and records.parquet."""
    first = len(corpus.queries)
    texts = corpus.texts()
    kinds = [QUERY] * first + [DOCUMENT] * len(corpus.documents)
    text_table = pa.table(
        {"id": pa.array(range(len(texts)), pa.int32()), "kind": kinds, "text": texts}, TEXT_SCHEMA
    )
    queries, documents, groups, scores, negatives = _columns(corpus)
    record_table = pa.table(
        {
            "query_id": queries,
            "document_id": [first + place for place in documents],
            "group": groups,
            "score": scores,
            "negatives": [[first + place for place in places] for places in negatives],
        },
        RECORD_SCHEMA,
    )
    parquet.write_table(text_table, folder / TEXTS)
    parquet.write_table(record_table, folder / RECORDS)


def _columns(
    corpus: Corpus,
) -> tuple[list[int], list[int], list[str | None], list[float | None], list[list[int]]]:
    rows = corpus.records
    return (
        [row[0] for row in rows],
        [row[1] for row in rows],
        [row[2] for row in rows],
        [row[3] for row in rows],
        [row[4] for row in rows],
    )
