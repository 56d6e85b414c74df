"""Which queries and documents are used: a choice that is the same after every restart."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from distill_common.rows import BadRows, Record


@dataclass(frozen=True, slots=True)
class Query:
    """A query with what is known of its answers; documents by their rows."""

    text: str
    relevant: tuple[int, ...]
    rejected: tuple[int, ...] = ()
    """Known bad documents, which are the hardest to tell apart."""


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that is sent to the arms."""

    queries: tuple[Query, ...]
    documents: tuple[str, ...]
    pool: tuple[int, ...]
    """Rows of the documents that every query is searched in, besides its own."""
    searched: int
    """Documents that each query is compared with, unless it has more answers of its own."""
    digest: str

    @property
    def count(self) -> int:
        """How many queries there are."""
        return len(self.queries)

    @property
    def told(self) -> str:
        """What there is, for the log."""
        return f"{self.count} queries, {len(self.documents)} documents"

    def candidates(self, query: Query) -> list[int]:
        """Return the rows that a query is searched in, its answers first."""
        found = dict.fromkeys([*query.relevant, *query.rejected, *self.pool])
        return list(found)[: max(self.searched, len(query.relevant))]


@dataclass(slots=True)
class _Read:
    """What the records say, by text."""

    relevant: dict[str, dict[str, None]] = field(default_factory=dict)
    rejected: dict[str, dict[str, None]] = field(default_factory=dict)
    documents: dict[str, None] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Take in a record; a known relevance of 0 or less is no answer."""
        texts = [record.document, *record.negatives]
        self.documents |= dict.fromkeys(texts)
        if record.query is None:
            return
        answers = record.answers
        if answers:
            self.relevant.setdefault(record.query, {})[record.document] = None
        bad = record.negatives if answers else texts
        self.rejected.setdefault(record.query, {}).update(dict.fromkeys(bad))


def choose(records: Iterable[Record | None], *, queries: int, documents: int) -> Material:
    """Choose queries and documents by the hashes of their texts, whatever their order in the data.

    Raises BadRows where no query has an answer, or there is nothing to tell an answer from.
    """
    read = _Read()
    for record in records:
        if record is not None:
            read.add(record)
    chosen = _first(read.relevant, queries)
    if not chosen:
        raise BadRows("The data has no query with a document that answers it: check the columns")
    if len(read.documents) < 2:
        raise BadRows("The data has a single document, which every query finds: add others")
    return _material(read, chosen, _first(read.documents, documents), documents)


def _material(read: _Read, chosen: list[str], pool: list[str], searched: int) -> Material:
    rows = {text: row for row, text in enumerate(pool)}

    def row(text: str) -> int:
        return rows.setdefault(text, len(rows))

    found = []
    for text in chosen:
        own, bad = read.relevant[text], list(read.rejected[text])[:searched]
        relevant = tuple(map(row, sorted(own)))
        rejected = tuple(row(other) for other in sorted(bad) if other not in own)
        found.append(Query(text, relevant, rejected))
    digest = _digest(repr([found, list(rows), len(pool), searched]))
    return Material(tuple(found), tuple(rows), tuple(range(len(pool))), searched, digest)


def _first(texts: Iterable[str], count: int) -> list[str]:
    return sorted(texts, key=_digest)[:count]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
