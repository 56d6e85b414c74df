"""Shards of embeddings: which texts each holds, and how several jobs make them together."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from distill_trainer.labelling.corpus import DOCUMENT, QUERY
from distill_trainer.storage import Folder

SIZE: Final = 2048
"""Texts of a shard. Batches are made inside a shard, so an interruption changes no number."""
CLAIM_SECONDS: Final = 120.0
"""A claim that was not renewed for so long is void: its pod is gone."""

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


@dataclass(frozen=True, slots=True)
class Claims:
    """Says who is making a shard, so that jobs that share a cache divide the work.

    Only a hint: without it two jobs make the same shard, the first one to finish is kept. Object
    stores have none.
    """

    folder: Folder
    owner: str

    def take(self, shard: Shard, now: float) -> bool:
        """Claim a shard; False while another job's claim is alive."""
        if not self.folder.local:
            return True
        path = self._path(shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps({"owner": self.owner}).encode()
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o664)
        except FileExistsError:
            if not self._void(path, now):
                return False
            path.write_bytes(content)
            return True
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        return True

    def renew(self, shard: Shard) -> None:
        """Keep a claim alive."""
        if self.folder.local:
            self._path(shard).touch()

    def release(self, shard: Shard) -> None:
        """Give a claim up."""
        if self.folder.local:
            self._path(shard).unlink(missing_ok=True)

    def _path(self, shard: Shard) -> Path:
        return self.folder.path / "shards" / f".{shard.number:06d}.claim"

    def _void(self, path: Path, now: float) -> bool:
        try:
            if now - path.stat().st_mtime > CLAIM_SECONDS:
                return True
            return bool(json.loads(path.read_bytes() or b"{}").get("owner") == self.owner)
        except FileNotFoundError:
            return True
        except ValueError:
            return False


def open_ones(
    shards: list[Shard], folder: Folder, claims: Claims, *, pause: float = 1.0
) -> Iterator[Shard | None]:
    """Yield each shard that is to be made here, until all are there, whoever made them.

    Yields None before each pause, while the rest is being made by others.
    """
    missing = list(shards)
    while missing:
        waiting = []
        for shard in missing:
            if is_whole(folder.path / shard.name, shard):
                continue
            if not claims.take(shard, time.time()):
                waiting.append(shard)
            elif is_whole(folder.path / shard.name, shard):
                # Another job made it and let go of it between the look and the claim.
                claims.release(shard)
            else:
                yield shard
        missing = waiting
        if missing:
            yield None
            time.sleep(pause)
