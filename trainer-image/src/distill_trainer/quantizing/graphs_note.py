"""What was measured of the quantised graphs of an encoder-decoder."""

from dataclasses import dataclass
from typing import Any

from distill_trainer.quantizing.note import Smaller
from distill_trainer.quantizing.writing_note import WritingNote


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphsNote(WritingNote):
    """The numbers; the graphs ran in ONNX Runtime, as they will be served."""

    files: tuple[str, ...]
    """Names of the graphs."""
    per_channel: bool
    parity: float
    """Largest difference of the float graphs' logits to the weights'."""
    sources_per_second: tuple[float, float]
    """Of the float graphs and of the quantised ones, in turns, on the same processor."""

    @property
    def speedup(self) -> float:
        """How many times faster than the float graphs."""
        before, after = self.sources_per_second
        return after / before

    def own_facts(self) -> dict[str, str]:
        """Return the numbers that only graphs have."""
        # Slotted dataclasses are made anew by their decorator, which super() does not see.
        found = WritingNote.own_facts(self) | {
            "speedup": f"{self.speedup:.3f}",
            "parity": f"{self.parity:.2g}",
            "perChannel": str(self.per_channel).lower(),
        }
        return {name: value for name, value in found.items() if name != "leftOnPurpose"}

    def detail(self) -> str:
        """Say how close and how fast the graphs are."""
        return f"{self.doubts()}; {self.speedup:.2f} times as fast as the float graphs"

    def content(self) -> dict[str, Any]:
        """Return what quantization.json has."""
        return Smaller.content(self) | {"speedup": round(self.speedup, 3)}
