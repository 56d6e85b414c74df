"""The list of what is published: every file with its size and digest; a reader checks by it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from distill_trainer import fingerprints

NAME: Final = "artifact.json"
"""Written last: its presence means that every file is there."""
FORMAT: Final = "kubedistill.io/published.v1"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that is published."""

    name: str
    """Relative to the published folder, with slashes."""
    size: int
    """Bytes."""
    sha256: str
    """Of the content, hexadecimal."""


def entries(folder: Path) -> tuple[Entry, ...]:
    """Read every visible file of a folder once."""
    return tuple(
        Entry(
            path.relative_to(folder).as_posix(), path.stat().st_size, fingerprints.file_digest(path)
        )
        for path in fingerprints.visible_files(folder)
    )


def digest(found: Iterable[Entry]) -> str:
    """Digest a list of files, as fingerprints.tree_digest does for a folder of them."""
    return fingerprints.of([[entry.name, entry.size, entry.sha256] for entry in found])


def encode(found: Iterable[Entry], weights: str) -> bytes:
    """Write the list. weights: digest of the weights alone."""
    listed = tuple(found)
    content = {
        "format": FORMAT,
        "digest": digest(listed),
        "weightsDigest": weights,
        "files": {entry.name: {"size": entry.size, "sha256": entry.sha256} for entry in listed},
    }
    return json.dumps(content, indent=1, sort_keys=True).encode()


def read(content: bytes | None) -> Mapping[str, Any]:
    """Return what a list says; empty where it is none."""
    try:
        found = json.loads(content or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) and "digest" in found else {}


def names(told: Mapping[str, Any]) -> set[str]:
    """Return the names of the files that a list tells of."""
    files = told.get("files")
    return set(files) if isinstance(files, dict) else set()


def damage(folder: Path, *, whole: bool = True) -> str | None:
    """Say what differs from the list in a folder; None where nothing does, or there is no list.

    whole: files that are listed and absent count as damage.
    """
    path = folder / NAME
    told = read(path.read_bytes()) if path.is_file() else {}
    if told.get("format") != FORMAT:
        return None
    for name, entry in sorted(told["files"].items()):
        file = folder / name
        if not file.is_file():
            if whole:
                return f"{name} is missing"
        elif file.stat().st_size != entry["size"]:
            return f"{name} has {file.stat().st_size} bytes instead of {entry['size']}"
        elif fingerprints.file_digest(file) != entry["sha256"]:
            return f"the content of {name} has changed"
    listed = [Entry(name, e["size"], e["sha256"]) for name, e in sorted(told["files"].items())]
    return None if digest(listed) == told["digest"] else f"{NAME} itself has changed"
