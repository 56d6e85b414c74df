"""The folder that is published: the student with its card, report and lineage."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from distill_api.exports import TritonRepository
from distill_api.status import EvaluationStatus, Lineage
from distill_api.wire import Task
from distill_common import graphs

from distill_trainer import artifacts, fingerprints
from distill_trainer.exporting import engine_inputs
from distill_trainer.publishing import data_card, listing, model_card
from distill_trainer.publishing.listing import Entry
from distill_trainer.stages import engine

STUDENT: Final = "student"
LINEAGE: Final = "lineage.json"
EXTRAS: Final = ("report.html", "evaluation.json", "curves.jsonl", "data_card.json")
"""What earlier stages tell about the student; published where it is there."""
SPEC: Final = ("teacher", "student", "data", "recipe", "training", "evaluation")
NOTES: Final = ("teaching", "quantization", "export")
"""What the card tells of earlier stages."""
OPTIONAL: Final = ("quantize", "export")
"""Parts of the spec that the lineage keeps; the second ones where they are there."""


@dataclass(frozen=True, slots=True)
class Material:
    """What the bundle is made from."""

    task: Task
    trained: Path
    evaluated: Path
    prepared: Path
    lineage: Lineage
    evaluation: EvaluationStatus | None
    quantized: Path | None = None
    """Output of the quantize stage, where there was one."""
    exported: Path | None = None
    """Likewise of the export stage."""
    engine: Path | None = None
    """Likewise of the engine stage; None, too, where no node could build one."""

    @property
    def has_graph(self) -> bool:
        """Tell whether quantising made a graph, which lies beside the float student."""
        return self.quantized is not None and (self.quantized / graphs.FOLDER).is_dir()

    @property
    def student(self) -> Path:
        """Return the weights to publish: the quantised ones, unless those are a graph."""
        if self.quantized is None or self.has_graph:
            return self.trained / STUDENT
        return self.quantized / STUDENT

    @property
    def formats(self) -> list[str]:
        """Name the formats of the weights, and the repository that serves them."""
        smaller = self.quantized is not None
        weights = ["compressed-tensors"] if smaller and not self.has_graph else ["safetensors"]
        found = {
            "onnx": self.exported is not None and (self.exported / graphs.FOLDER).is_dir(),
            "onnx-int8": self.has_graph,
            "triton": self.triton is not None,
            "tensorrt": self.engine is not None,
        }
        return weights + [name for name, there in found.items() if there]

    @property
    def triton(self) -> TritonRepository | None:
        """Return what is asked for of a Triton repository."""
        wanted = self.task.spec.export
        return None if wanted is None else wanted.triton_repository


@dataclass(frozen=True, slots=True)
class Bundle:
    """The folder to publish."""

    path: Path
    weights_digest: str
    """Of the weights alone: equal for equal training."""
    content_digest: str
    """Of the list of all files and their digests."""
    entries: tuple[Entry, ...]
    """The files, sorted."""

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Describe a folder as it is."""
        entries = listing.entries(folder)
        return cls(folder, weights_digest(folder), listing.digest(entries), entries)

    @property
    def size(self) -> int:
        """Return the bytes of all files."""
        return sum(entry.size for entry in self.entries)

    @property
    def listing(self) -> bytes:
        """Return the list of the files, as it is published beside them."""
        return listing.encode(self.entries, self.weights_digest)


def assemble(material: Material, into: Path) -> Bundle:
    """Collect student, card, report and lineage in an empty folder.

    Nothing in it depends on the time or the place, so equal inputs give an equal digest.
    """
    shutil.copytree(material.student, into, dirs_exist_ok=True)
    _add_extras(material, into)
    _add_other_forms(material, into)
    _write_json(into / LINEAGE, _lineage(material, weights_digest(into)))
    _add_cards(material, into)
    return Bundle.of(into)


def _add_extras(material: Material, into: Path) -> None:
    """Copy what stages have noted; where several have the same file, that of the last here."""
    for folder in (material.trained, material.evaluated, material.prepared):
        for name in EXTRAS:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, into / name)


def _add_other_forms(material: Material, into: Path) -> None:
    """Add what the student was turned into: quantised, exported, for Triton, for a GPU."""
    if material.quantized is not None:
        if material.has_graph:
            shutil.copytree(material.quantized / graphs.FOLDER, into / graphs.FOLDER)
        shutil.copyfile(material.quantized / graphs.NOTE, into / graphs.NOTE)
    if material.exported is not None:
        not_published = shutil.ignore_patterns(artifacts.MANIFEST, engine_inputs.FOLDER)
        shutil.copytree(material.exported, into, dirs_exist_ok=True, ignore=not_published)
    _add_triton(material, into)
    if material.engine is not None:
        shutil.copytree(material.engine / engine.FOLDER, into / engine.FOLDER)


def _add_cards(material: Material, into: Path) -> None:
    """Write the cards of model and data, of what was collected so far."""
    data = _read(material.prepared / "data_card.json")
    notes = {name: _read(into / f"{name}.json") for name in NOTES}
    notes["engine"] = _read(into / engine.FOLDER / engine.NOTE)
    task, lineage = material.task, material.lineage
    card = model_card.render(task, lineage, material.evaluation, data, notes)
    (into / "README.md").write_text(card, encoding="utf-8")
    if data:
        (into / data_card.NAME).write_text(data_card.render(task, data), encoding="utf-8")


def _add_triton(material: Material, into: Path) -> None:
    """Write the Triton repository, for which graph and tokenizer have to be there."""
    if material.triton is not None:
        from distill_trainer.triton import repository

        repository.write(into, material.triton, weights=weights_digest(into))


def weights_digest(folder: Path) -> str:
    """Digest the content of every safetensors file; that of a single one is the file's own."""
    files = sorted(folder.rglob("*.safetensors"))
    if len(files) == 1:
        return fingerprints.PREFIX + fingerprints.file_digest(files[0])
    return fingerprints.of(
        [[path.relative_to(folder).as_posix(), fingerprints.file_digest(path)] for path in files]
    )


def _lineage(material: Material, weights: str) -> dict[str, Any]:
    spec = material.task.spec
    return {
        **material.lineage.model_dump(by_alias=True),
        "weights": weights,
        "job": material.task.job.model_dump(by_alias=True),
        "spec": {
            name: fingerprints.of_model(getattr(spec, name))
            for name in (*SPEC, *OPTIONAL)
            if name in SPEC or getattr(spec, name) is not None
        },
    }


def _read(path: Path) -> Mapping[str, Any]:
    """Read a file of JSON; empty where an earlier stage left none."""
    if not path.is_file():
        return {}
    content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
