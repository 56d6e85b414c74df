"""Lists of scored documents: what a reranker's teacher said of known documents and others."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pyarrow import parquet

from distill_trainer.labelling import candidates, shards
from distill_trainer.labelling.candidates import Source
from distill_trainer.labelling.corpus import normal

SCORES: Final = "scores.npy"
NONE: Final = -1
EDGE: Final = 1e-6
"""Probabilities are held this far from 0 and 1 before they are turned back into logits."""

type Scores = NDArray[np.float32]
type Ids = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Lists:
    """All scores by query."""

    known: dict[int, dict[str, float]]
    """Query → normalised text of a document that answers it → raw score."""
    others: dict[int, list[tuple[int, float]]]
    """Query → its other documents by text id, with raw scores."""


def read(folder: Path, settings: dict[str, Any], texts: list[str]) -> Lists:
    """Read what the label stage left in a folder; settings: its label.json."""
    table = parquet.read_table(folder / candidates.LISTS)
    columns = (table[name].to_pylist() for name in ("query_id", "document_id", "source"))
    scores = np.concatenate([shards.load(folder / name)[0][:, 0] for name in settings["shards"]])
    if settings["scores"]["squashed"]:
        scores = logits(scores)
    known: defaultdict[int, dict[str, float]] = defaultdict(dict)
    others: defaultdict[int, list[tuple[int, float]]] = defaultdict(list)
    for query, document, source, score in zip(*columns, scores.tolist(), strict=True):
        if source == Source.KNOWN:
            known[query][normal(texts[document])] = score
        else:
            others[query].append((document, score))
    return Lists(dict(known), dict(others))


def logits(probabilities: Scores) -> Scores:
    """Undo a sigmoid: log p - log(1 - p), so that margins are those of raw scores again."""
    inside = np.clip(probabilities.astype(np.float64), EDGE, 1 - EDGE)
    return np.asarray(np.log(inside) - np.log1p(-inside), dtype=np.float32)


def of_records(lists: Lists, queries: Ids, own: list[str]) -> Scores:
    """Raw score of each record's own document; own: normalised texts, [records]."""
    found = [lists.known[query][text] for query, text in zip(queries.tolist(), own, strict=True)]
    return np.array(found, dtype=np.float32)


def shares(lists: Lists, queries: Ids, scores: Scores) -> Scores:
    """Softmax share of each record's own document among itself and the documents of no answer.

    It is 0.99 where the teacher puts the own document 4.6 above all others together: sure in the
    sense of the guide, whether or not the teacher's scores are calibrated.
    """
    found = np.empty(len(scores), dtype=np.float32)
    for row, (query, own) in enumerate(zip(queries.tolist(), scores.tolist(), strict=True)):
        others = np.array([score for _, score in lists.others.get(query, [])], dtype=np.float64)
        # 1 / (1 + sum exp(other - own)), kept from overflowing
        found[row] = 1 / (1 + np.exp(np.clip(others - own, -700, 700)).sum())
    return found


def table(
    lists: Lists, queries: Ids, own: Scores, allowed: list[frozenset[str | None]], splits: list[Any]
) -> tuple[Ids, Scores]:
    """Lay the lists out by record: documents [records, k] and scores [records, k + 1].

    allowed: splits that a record's other documents may be of; splits: of each text. Scores begin
    with the own document's. What is missing is -1 and NaN.
    """
    rows = [
        [entry for entry in lists.others.get(query, []) if splits[entry[0]] in fitting]
        for query, fitting in zip(queries.tolist(), allowed, strict=True)
    ]
    width = max(map(len, rows), default=0)
    documents = np.full((len(rows), width), NONE, dtype=np.int32)
    scores = np.full((len(rows), width + 1), np.nan, dtype=np.float32)
    scores[:, 0] = own
    for row, entries in enumerate(rows):
        documents[row, : len(entries)] = [document for document, _ in entries]
        scores[row, 1 : len(entries) + 1] = [score for _, score in entries]
    return documents, scores
