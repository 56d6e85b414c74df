"""Shards of embeddings: which texts each holds, and how it is written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from distill_trainer.labelling.corpus import DOCUMENT, QUERY

SIZE: Final = 2048
"""Texts of a shard. Batches are made inside a shard, so an interruption changes no number."""

type Embeddings = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Shard:
    """A run of texts of one kind."""

    number: int
    start: int
    stop: int
    kind: str

    @property
    def name(self) -> str:
        """Return the file's name inside the label folder."""
        return f"shards/{self.number:06d}.safetensors"


def plan(queries: int, documents: int, size: int = SIZE) -> list[Shard]:
    """Divide text ids into shards: queries first, then documents."""
    runs = [(start, min(start + size, queries), QUERY) for start in range(0, queries, size)]
    total = queries + documents
    runs += [(start, min(start + size, total), DOCUMENT) for start in range(queries, total, size)]
    return [Shard(number, *run) for number, run in enumerate(runs)]


def encode(vectors: Embeddings, tokens: int) -> bytes:
    """Write a shard as safetensors, with the number of tokens that the teacher read."""
    from safetensors.numpy import save

    return bytes(save({"embeddings": np.ascontiguousarray(vectors)}, {"tokens": str(tokens)}))


def load(path: Path) -> tuple[Embeddings, int]:
    """Read a shard: float32 [texts, width] and the teacher's tokens."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        tokens = int((file.metadata() or {}).get("tokens", 0))
        return file.get_tensor("embeddings"), tokens


def is_whole(path: Path, shard: Shard) -> bool:
    """Tell whether a shard is there and holds as many rows as it should."""
    if not path.is_file():
        return False
    try:
        vectors, _ = load(path)
    except Exception:  # noqa: BLE001 - safetensors has its own error classes; unreadable is absent
        return False
    return len(vectors) == shard.stop - shard.start
