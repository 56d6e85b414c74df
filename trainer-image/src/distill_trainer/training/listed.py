"""Lists that are judged on: each query's documents, which answer it, what the teacher said."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from distill_trainer.measures.retrieval import Ranking, Relevant
from distill_trainer.preparing import lists
from distill_trainer.training import pairs

MAX_QUERIES = 256
"""Queries of a validation: its score only ranks checkpoints of one training."""

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Listed:
    """Lists to be ordered."""

    queries: Ids
    """[queries]: text ids."""
    documents: list[Ids]
    """Of each query: text ids, those that answer it first."""
    answers: list[int]
    """Of each query: how many of its documents answer it."""
    scores: list[NDArray[np.float32]]
    """Of each query: the teacher's raw scores."""
    texts: Sequence[str]
    """[all texts]: by text id."""

    def pairs(self) -> list[tuple[str, str]]:
        """Return the texts of all pairs, list after list."""
        return [
            (self.texts[query], self.texts[document])
            for query, documents in zip(self.queries.tolist(), self.documents, strict=True)
            for document in documents.tolist()
        ]

    def divided(self, scores: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Divide the scores of all pairs [pairs] by list, each [documents of the list]."""
        return np.split(scores, np.cumsum([len(one) for one in self.documents])[:-1])

    def all_documents(self) -> Ids:
        """Return the different documents of all lists, rising."""
        return np.unique(np.concatenate(self.documents))

    def relevant(self) -> Relevant:
        """Row of a query → rows of all_documents that answer it."""
        every = self.all_documents()
        return {
            row: frozenset(np.searchsorted(every, documents[:count]).tolist())
            for row, (documents, count) in enumerate(zip(self.documents, self.answers, strict=True))
        }

    def ranking(self, scores: Sequence[NDArray[np.float32]]) -> Ranking:
        """Order every list by scores, best first; ties go against what answers, which is first.

        scores: of each list, [its documents]. Shorter lists are filled up with -1 at the end.
        """
        every = self.all_documents()
        depth = max(map(len, self.documents))
        ordered = np.full((len(self.queries), depth), lists.NONE, dtype=np.int64)
        sorted_scores = np.full((len(self.queries), depth), -np.inf, dtype=np.float32)
        for row, (documents, own) in enumerate(zip(self.documents, scores, strict=True)):
            order = np.lexsort((-np.arange(len(own)), -own))
            ordered[row, : len(own)] = np.searchsorted(every, documents[order])
            sorted_scores[row, : len(own)] = own[order]
        return Ranking(ordered, sorted_scores)


def load(
    prepared: Path, split: str, keep: Callable[[Ids], NDArray[np.bool_]] | None = None
) -> Listed:
    """Read the lists of a split; queries without a second document are left out.

    keep: tells which documents [k] may be in a list beside those that answer; all by default.
    """
    table = pq.read_table(prepared / "records.parquet", columns=["split"])
    chosen = np.array([entry == split for entry in table["split"].to_pylist()], dtype=bool)
    scores = np.load(prepared / lists.SCORES, mmap_mode="r")[chosen]
    own = pairs.load(prepared, split)
    found: dict[int, tuple[dict[int, float], int]] = {}
    for row, (query, document) in enumerate(
        zip(own.queries.tolist(), own.documents.tolist(), strict=True)
    ):
        known, _ = found.setdefault(query, ({}, row))
        known[document] = float(scores[row, 0])
    texts = pq.read_table(prepared / "texts.parquet", columns=["text"])["text"].to_pylist()
    made = Listed(np.empty(0, dtype=np.int64), [], [], [], texts)
    queries: list[int] = []
    for query, (known, row) in sorted(found.items()):
        fitting = own.negatives[row] >= 0
        if keep is not None:
            fitting &= keep(own.negatives[row])
        if not fitting.any():
            continue
        queries.append(query)
        answers = np.array(list(known), dtype=np.int64)
        made.documents.append(np.concatenate([answers, own.negatives[row][fitting]]))
        made.answers.append(len(known))
        others = np.asarray(scores[row, 1:][fitting], dtype=np.float32)
        made.scores.append(np.concatenate([np.array(list(known.values()), np.float32), others]))
    return Listed(
        np.array(queries, dtype=np.int64), made.documents, made.answers, made.scores, texts
    )


def sample(whole: Listed, *, seed: int) -> Listed:
    """Choose at most MAX_QUERIES lists; depends on nothing but the arguments."""
    generator = np.random.Generator(np.random.PCG64([seed, len(whole.queries)]))
    chosen = np.sort(generator.permutation(len(whole.queries))[:MAX_QUERIES]).tolist()
    return Listed(
        whole.queries[chosen],
        [whole.documents[row] for row in chosen],
        [whole.answers[row] for row in chosen],
        [whole.scores[row] for row in chosen],
        whole.texts,
    )
