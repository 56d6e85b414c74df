"""How well student and teacher find what answers the test queries, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from distill_api.outcome import Corpus
from numpy.typing import NDArray

from distill_trainer.losses import matryoshka
from distill_trainer.measures import retrieval
from distill_trainer.measures.retrieval import Ranking, Relevant
from distill_trainer.training import pairs

DEPTH = 1000
"""Documents ranked for each query, as trec_eval does."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Bench:
    """The test: queries, documents, and which of these answer them."""

    queries: NDArray[np.int64]
    """[queries]: text ids."""
    documents: NDArray[np.int64]
    """[documents]: text ids."""
    relevant: Relevant
    """Row of queries → rows of documents."""
    texts: Sequence[str]
    """[all texts]: by text id."""

    def query_texts(self) -> list[str]:
        """Return the queries' texts, in their order."""
        return [self.texts[text] for text in self.queries]

    def document_texts(self) -> list[str]:
        """Return the documents' texts, in their order."""
        return [self.texts[text] for text in self.documents]


@dataclass(frozen=True, slots=True)
class Result:
    """What one model found."""

    ranking: Ranking
    values: Mapping[str, NDArray[np.float64]]
    """Measure → value for each query."""


def load(prepared: Path, corpus: Corpus, split: str = "test") -> Bench:
    """Read a split of what the prepare stage left.

    corpus: whether its queries are searched in all documents or in those of the split.
    """
    table = pq.read_table(prepared / "texts.parquet", columns=["text", "kind", "split"])
    kinds, splits = (np.array(table[name].to_pylist(), dtype=object) for name in ("kind", "split"))
    searched = kinds == "document"
    if corpus is Corpus.TEST:
        searched &= splits == split
    documents = np.flatnonzero(searched).astype(np.int64)
    answers = pairs.load(prepared, split).answers()
    queries = np.array(sorted(answers), dtype=np.int64)
    row = {text: place for place, text in enumerate(documents.tolist())}
    relevant = {
        place: frozenset(row[document] for document in answers[query])
        for place, query in enumerate(queries.tolist())
    }
    return Bench(queries, documents, relevant, table["text"].to_pylist())


def result(bench: Bench, measures: Sequence[str], queries: Vectors, documents: Vectors) -> Result:
    """Search and measure; queries, documents: embeddings [rows, width] in the bench's order."""
    ranking = retrieval.search(torch.from_numpy(queries), torch.from_numpy(documents), DEPTH)
    return Result(ranking, retrieval.per_query(measures, bench.relevant, ranking))


def by_width(
    bench: Bench, measure: str, queries: Vectors, documents: Vectors, widths: Sequence[int]
) -> dict[int, float]:
    """Mean of a measure when the embeddings are cut to each of these widths."""
    scores: dict[int, float] = {}
    for width in widths:
        cut = [matryoshka.cut(torch.from_numpy(v), width).numpy() for v in (queries, documents)]
        scores[width] = float(result(bench, [measure], *cut).values[measure].mean())
    return scores
