"""The different queries of a query transform's data, its documents, and which answer which."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa
from distill_common.rows import Search
from pyarrow import parquet

from distill_trainer.labelling.corpus import normal
from distill_trainer.texts.querying import Query

QUERIES: Final = "queries.parquet"
DOCUMENTS: Final = "documents.parquet"
RELEVANT: Final = "relevant.parquet"

QUERY_SCHEMA: Final = pa.schema(
    [("id", pa.int32()), ("query", pa.string()), ("turns", pa.list_(pa.string()))]
)
DOCUMENT_SCHEMA: Final = pa.schema([("id", pa.int32()), ("text", pa.string())])
RELEVANT_SCHEMA: Final = pa.schema(
    [("query_id", pa.int32()), ("document_id", pa.int32()), ("group", pa.string())]
)


@dataclass(slots=True)
class Searches:
    """Queries and documents by number, in their order of appearance."""

    queries: dict[Query, int] = field(default_factory=dict)
    documents: dict[str, int] = field(default_factory=dict)
    relevant: list[tuple[int, int, str | None]] = field(default_factory=list)
    """Query, document that it looks for, group: one for each row with a query."""
    rows: int = 0
    empty: int = 0
    """Rows without a document's text."""
    rejected: int = 0
    """Rows whose score says that the query does not look for the document."""
    with_turns: int = 0
    """Rows with something said before the query."""
    first: dict[str, int] = field(default_factory=dict)
    """The row, counted from 1, in which a group comes up first."""

    def add(self, row: Search | None, *, turns: bool) -> None:
        """Take in a row; turns: whether what was said before is part of the query."""
        self.rows += 1
        if row is None:
            self.empty += 1
            return
        document = self.documents.setdefault(row.document, len(self.documents))
        if row.query is None:
            return
        if not row.answers:
            self.rejected += 1
            return
        self.with_turns += bool(row.turns)
        asked = Query(row.query, row.turns if turns else ())
        query = self.queries.setdefault(asked, len(self.queries))
        self.relevant.append((query, document, row.group))
        if row.group is not None:
            self.first.setdefault(row.group, self.rows)

    def pairs(self) -> list[tuple[str, str]]:
        """Return normalised query, earlier turns included, and document of each row."""
        queries = [whole(query) for query in self.queries]
        documents = [normal(text) for text in self.documents]
        return [(queries[query], documents[document]) for query, document, _ in self.relevant]


def whole(query: Query) -> str:
    """Return a query and what was said before it, normalised, as one text."""
    return normal("\n".join([*query.turns, query.text]))


def collect(rows: Iterable[Search | None], *, turns: bool) -> Searches:
    """Take in rows; turns: whether what was said before is part of the query."""
    found = Searches()
    for row in rows:
        found.add(row, turns=turns)
    return found


def write(searches: Searches, folder: Path) -> None:
    """Write queries, documents and what answers what."""
    queries = pa.table(
        {
            "id": range(len(searches.queries)),
            "query": [query.text for query in searches.queries],
            "turns": [list(query.turns) for query in searches.queries],
        },
        QUERY_SCHEMA,
    )
    texts = list(searches.documents)
    documents = pa.table({"id": range(len(texts)), "text": texts}, DOCUMENT_SCHEMA)
    columns = {
        name: [row[place] for row in searches.relevant]
        for place, name in enumerate(RELEVANT_SCHEMA.names)
    }
    parquet.write_table(queries, folder / QUERIES)
    parquet.write_table(documents, folder / DOCUMENTS)
    parquet.write_table(pa.table(columns, RELEVANT_SCHEMA), folder / RELEVANT)
