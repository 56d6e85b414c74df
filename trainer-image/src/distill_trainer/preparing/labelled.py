"""Reads what the label stage left: texts, records and embeddings."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyarrow import parquet

from distill_trainer.labelling import corpus, shards
from distill_trainer.labelling.shards import Embeddings


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labelled data in memory; the embeddings are copied from shard to file and mapped."""

    texts: list[str]
    kinds: list[str]
    query_ids: NDArray[np.int32]
    """-1 for a document without a query."""
    document_ids: NDArray[np.int32]
    groups: list[str | None]
    negatives: list[list[int]]
    settings: dict[str, Any]
    """Content of label.json."""


def read(folder: Path) -> Labelled:
    """Read texts and records of a label output."""
    texts = parquet.read_table(folder / corpus.TEXTS)
    records = parquet.read_table(folder / corpus.RECORDS)
    return Labelled(
        texts=texts["text"].to_pylist(),
        kinds=texts["kind"].to_pylist(),
        query_ids=records["query_id"].to_numpy().astype(np.int32),
        document_ids=records["document_id"].to_numpy().astype(np.int32),
        groups=records["group"].to_pylist(),
        negatives=records["negatives"].to_pylist(),
        settings=json.loads((folder / "label.json").read_text(encoding="utf-8")),
    )


def join_shards(folder: Path, settings: dict[str, Any], target: Path) -> Embeddings:
    """Write all shards into one .npy file, one after the other, and map it: [texts, width]."""
    rows = settings["queries"] + settings["documents"]
    joined = np.lib.format.open_memmap(
        target, mode="w+", dtype=np.float32, shape=(rows, settings["dimension"])
    )
    start = 0
    for name in settings["shards"]:
        vectors, _ = shards.load(folder / name)
        joined[start : start + len(vectors)] = vectors
        start += len(vectors)
    joined.flush()
    loaded: Embeddings = np.load(target, mmap_mode="r")
    return loaded
