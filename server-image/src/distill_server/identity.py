"""What exactly is served: digests of the folder and of its weights."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

PREFIX = "sha256:"
LISTING = "artifact.json"
"""The list of the files that lies beside them on a volume: no part of what it lists."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Digests as the publish stage computes them, so that a server can be traced to its job."""

    content: str
    """Of the list of all files, their sizes and digests."""
    weights: str
    """Of the safetensors alone: equal for equal training."""

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Read every file once."""
        files = [(path, _digest(path)) for path in _visible(folder)]
        weights = [(path, digest) for path, digest in files if path.suffix == ".safetensors"]
        content = [[_name(path, folder), path.stat().st_size, digest] for path, digest in files]
        if len(weights) == 1:
            return cls(_of(content), PREFIX + weights[0][1])
        return cls(_of(content), _of([[_name(path, folder), digest] for path, digest in weights]))


def _visible(folder: Path) -> list[Path]:
    """List files, sorted, without those that a dot hides, as tools keep caches there."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not _hidden(path.relative_to(folder).parts)
        and path != folder / LISTING
    )


def _hidden(parts: Iterable[str]) -> bool:
    return any(part.startswith(".") for part in parts)


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return PREFIX + hashlib.sha256(text.encode()).hexdigest()
