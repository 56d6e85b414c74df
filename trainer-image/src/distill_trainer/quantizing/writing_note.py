"""What was measured of a quantised student that writes."""

from dataclasses import dataclass
from typing import Final

from distill_trainer.quantizing.note import Smaller

MEASURE: Final = "1/perplexity"
"""Geometric mean of the probabilities of the answers' tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WritingNote(Smaller):
    """The numbers; the quantised student was loaded from its files before they were measured."""

    scheme: str
    """Bits of weights and of activations, such as W4A16."""
    group_size: int
    """Weights that share a scale; -1 for whole rows."""
    divergence: float
    """Mean divergence of the quantised student from the float one, in nats for each token."""
    agreement: float
    """Share of the tokens at which both find the same one likeliest."""
    tokens: int
    """That were compared."""
    calibrated_by: int
    """Records of the training split; 0 where rounding needs none."""
    on_purpose: tuple[str, ...]
    """Weights that were to stay float: word embeddings and the head."""
    made_with: str
    """Library that wrote the files."""
    verified_with: str
    """Libraries that loaded them and gave these numbers."""

    @property
    def perplexities(self) -> tuple[float, float]:
        """Of the float student and of the quantised one."""
        return 1 / self.before, 1 / self.after

    def own_facts(self) -> dict[str, str]:
        """Return the numbers that only what writes has."""
        before, after = self.perplexities
        return {
            "scheme": self.scheme,
            "groupSize": str(self.group_size),
            "floatPerplexity": f"{before:.4f}",
            "perplexity": f"{after:.4f}",
            "divergence": f"{self.divergence:.6f}",
            "top1Agreement": f"{self.agreement:.6f}",
            "tokensCompared": str(self.tokens),
            "calibrationRecords": str(self.calibrated_by),
            "leftOnPurpose": ", ".join(self.on_purpose)[:80],
            "madeWith": self.made_with,
            "verifiedWith": self.verified_with,
        }

    def detail(self) -> str:
        """Say how close the quantised student is."""
        return f"{self.doubts()}; {', '.join(self.on_purpose)} stayed float on purpose"

    def doubts(self) -> str:
        """Return how the distributions agree."""
        before, after = self.perplexities
        return (
            f"perplexity {before:.3f} became {after:.3f}, divergence {self.divergence:.4f} nats a"
            f" token, the same likeliest token at {self.agreement:.1%} of {self.tokens} places"
        )
