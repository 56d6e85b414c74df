"""What was measured of a quantised student: its file, its facts, and the gate on its loss."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from distill_api.names import Reason
from distill_api.training import QuantizationMethod, Quantize
from distill_common import graphs

from distill_trainer.errors import BadInput
from distill_trainer.measures import telling

LOSSES: Final[Mapping[QuantizationMethod, float]] = {
    QuantizationMethod.INT8: 0.02,
    QuantizationMethod.INT4: 0.10,
    QuantizationMethod.GPTQ: 0.05,
    QuantizationMethod.AWQ: 0.05,
}
"""The guide's column "Quality Loss": the share that each method may lose by default."""
LOSS_DECIMALS: Final = 6
"""That files and status keep."""
SHOWN: Final = 6
"""Layers that a sentence names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Smaller:
    """The numbers that every quantised student has; all of student against quantised student."""

    method: str
    measure: str
    """What quality is measured by, on the validation split."""
    before: float
    after: float
    """Quality of the float student and of the quantised one."""
    bytes_before: int
    bytes_after: int
    teacher_bytes: int
    """0 where nobody knows, behind an endpoint."""
    layers: int
    left: tuple[str, ...]
    """Layers that stayed float without having been asked to."""

    @property
    def loss(self) -> float:
        """Share of the quality that is lost; negative where it has risen, 0 where there is none."""
        return 1 - self.after / self.before if self.before else 0.0

    @property
    def compression(self) -> float:
        """How many times smaller than the float student."""
        return self.bytes_before / self.bytes_after

    @property
    def compression_of_teacher(self) -> float:
        """How many times smaller than the teacher; 0 where its size is unknown."""
        return self.teacher_bytes / self.bytes_after

    def facts(self) -> dict[str, str]:
        """Return the numbers for the report."""
        found = {
            "method": self.method,
            "bytesBefore": str(self.bytes_before),
            "bytesAfter": str(self.bytes_after),
            "compression": f"{self.compression:.3f}",
            "quality": f"{self.after:.6f}",
            "floatQuality": f"{self.before:.6f}",
            "qualityLoss": f"{self.loss:.{LOSS_DECIMALS}f}",
            "layersQuantized": str(self.layers),
            "layersLeft": str(len(self.left)),
            **self.own_facts(),
        }
        if self.teacher_bytes:
            found["compressionOfTeacher"] = f"{self.compression_of_teacher:.3f}"
        return found

    def sentence(self) -> str:
        """Say what came of it."""
        teacher = (
            f", {self.compression_of_teacher:.1f} times smaller than the teacher"
            if self.teacher_bytes
            else ""
        )
        named = ", ".join(self.left[:SHOWN])
        left = f"; {len(self.left)} layers stayed float: {named}" if self.left else ""
        return (
            f"{self.method}: {self.bytes_before / 1e6:.1f} MB became"
            f" {self.bytes_after / 1e6:.1f} MB ({self.compression:.1f} times"
            f" smaller{teacher}); {self.measure} {self.before:.4f} became {self.after:.4f}"
            f" (loss {self.loss:.2%}); {self.detail()}{left}"
        )

    def own_facts(self) -> dict[str, str]:
        """Return the numbers that only this kind of student has."""
        raise NotImplementedError

    def detail(self) -> str:
        """Say what only this kind of student has."""
        raise NotImplementedError

    def doubts(self) -> str:
        """Return the numbers that tell, beside the loss, how far it is off."""
        raise NotImplementedError

    def content(self) -> dict[str, Any]:
        """Return what quantization.json has."""
        return {_camel(name): value for name, value in asdict(self).items()} | {
            "loss": round(self.loss, LOSS_DECIMALS),
            "compression": round(self.compression, 3),
            "compressionOfTeacher": round(self.compression_of_teacher, 3),
            "split": "validation",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Note(Smaller):
    """The numbers of a graph."""

    agreement: float
    """Lowest cosine of two embeddings of a text; of scores, the correlation."""
    ranks: float
    """Mean rank correlation of the documents of a query."""
    largest_difference: float
    parity: float
    """Largest difference of the float graph to the weights."""
    items_per_second: tuple[float, float]
    """Of the float graph and of the quantised one, in turns, on the same processor."""
    per_channel: bool

    @property
    def speedup(self) -> float:
        """How many times faster than the float graph."""
        before, after = self.items_per_second
        return after / before

    def own_facts(self) -> dict[str, str]:
        """Return the numbers that only graphs have."""
        return {
            "speedup": f"{self.speedup:.3f}",
            "agreement": f"{self.agreement:.6f}",
            "rankCorrelation": f"{self.ranks:.6f}",
            "parity": f"{self.parity:.2g}",
            "perChannel": str(self.per_channel).lower(),
        }

    def detail(self) -> str:
        """Say how fast the graph is."""
        return f"{self.speedup:.2f} times as fast as the float graph"

    def doubts(self) -> str:
        """Return how the embeddings or scores agree."""
        return f"rank correlation {self.ranks:.4f}, agreement {self.agreement:.4f}"

    def content(self) -> dict[str, Any]:
        """Return what quantization.json has."""
        # Slotted dataclasses are made anew by their decorator, which super() does not see.
        return Smaller.content(self) | {"speedup": round(self.speedup, 3)}


def write(note: Smaller, folder: Path) -> None:
    """Write quantization.json."""
    content = json.dumps(note.content(), indent=1) + "\n"
    (folder / graphs.NOTE).write_text(content, encoding="utf-8")


def read(folder: Path | None) -> Mapping[str, Any]:
    """Read what was measured; empty where nothing was quantised."""
    if folder is None or not (folder / graphs.NOTE).is_file():
        return {}
    told: Mapping[str, Any] = json.loads((folder / graphs.NOTE).read_text(encoding="utf-8"))
    return told


def check(note: Smaller, wanted: Quantize) -> None:
    """Hold the gate; BadInput with the numbers where it is missed, or a layer stayed float."""
    most = LOSSES[wanted.method] if wanted.max_loss is None else wanted.max_loss
    numbers = f"{note.measure} {note.before:.4f} of the float student, {note.after:.4f} quantised"
    if not note.loss <= most:
        loss = telling.beside(note.loss, most, kept=LOSS_DECIMALS, decimals=2, form="%")
        raise BadInput(
            Reason.QUALITY_GATE_FAILED,
            f"Quantising by {note.method} loses {loss} of the student's quality on the"
            f" validation split, and at most {most:.2%} is allowed ({numbers};"
            f" {note.doubts()}): raise quantize.maxLoss, train longer, or publish the float"
            " student",
        )
    if note.layers == 0:
        named = ", ".join(note.left[:SHOWN])
        raise BadInput(
            Reason.BAD_MODEL,
            f"Nothing of the student was quantised: {len(note.left)} layers stayed float, first"
            f" {named}. Its architecture cannot be quantised with this release; remove"
            " spec.quantize",
        )


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
