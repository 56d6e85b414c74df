"""Loads a quantised student from its files, and holds it against the float one, token by token."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np
import torch
from distill_api.names import Reason
from distill_api.recipe import Divergence
from safetensors import safe_open
from torch import Tensor, nn

from distill_trainer.errors import BadInput
from distill_trainer.losses import chunks, logits, tokens
from distill_trainer.quantizing import schemes
from distill_trainer.students import causal
from distill_trainer.students.causal import Causal
from distill_trainer.training import causal_pass, encode, sequences
from distill_trainer.training.causal_pass import Wanted
from distill_trainer.training.sequences import Taught

ANSWERS: Final = 512
"""Answers of the validation split that are compared, at most."""
MAX_TOKENS: Final = 2048
"""Tokens of a forward pass, padding included."""
MAX_ROWS: Final = 64
FLOATS: Final = frozenset({"F64", "F32", "F16", "BF16"})
SCALE: Final = ".weight_scale"


@dataclass(frozen=True, slots=True)
class Layers:
    """Weights in the files of a quantised student."""

    quantized: int
    left: tuple[str, ...]
    """Matrices that stayed float and were not meant to."""
    on_purpose: tuple[str, ...]
    """Word embeddings and head."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """How far a quantised student is from the float one, on the answers of a split."""

    before: float
    after: float
    """Mean log-likelihood of the answers' tokens, in nats."""
    divergence: float
    agreement: float
    tokens: int


def verified_with() -> str:
    """Name the libraries that load here; a server has its own."""
    return ", ".join(f"{name} {version(name)}" for name in ("transformers", "compressed-tensors"))


def load(folder: Path, *, trust: bool = False) -> Causal:
    """Load what was written, as any user of transformers would; BadInput for a key too many or few.

    Weights are dequantised to float32; activations are rounded where the scheme says so.
    """
    return causal.load(folder, trust=trust, whole=True)


def layers(folder: Path, model: nn.Module) -> Layers:
    """Find in the files what was quantised, and what was silently left.

    model: the loaded student; tells which weights are its word embeddings and its head.
    """
    kept = _embeddings(model)
    quantized, left, purpose = 0, list[str](), list[str]()
    for name, kind, dimensions in _entries(folder):
        if name.endswith(SCALE):
            quantized += 1
        elif kind in FLOATS and dimensions >= 2:
            module = name.rpartition(".")[0]
            (purpose if module in kept else left).append(module)
    return Layers(quantized, tuple(sorted(left)), tuple(sorted(purpose)))


def _entries(folder: Path) -> list[tuple[str, str, int]]:
    """List (name, type, dimensions) of all tensors of a folder."""
    found = []
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                entry = file.get_slice(name)
                found.append((name, entry.get_dtype(), len(entry.get_shape())))
    return found


def _embeddings(model: nn.Module) -> set[str]:
    """Return the names of embeddings and head."""
    names = {name for name, one in model.named_modules() if isinstance(one, nn.Embedding)}
    return names | set(schemes.head(model))


@torch.no_grad()
def compare(before: Causal, after: Causal, taught: Sequence[Taught]) -> Likeness:
    """Hold the distributions of two students against each other where answers are written."""
    return likeness(taught, MAX_TOKENS, lambda some: _sums(before, after, some))


def likeness(
    taught: Sequence[Taught], most: int, sums: Callable[[list[Taught]], Tensor]
) -> Likeness:
    """Average over some of the answers.

    most: tokens of a pass, padding included. sums: of a pass over answers' tokens, float64 [4]:
    both losses, the divergence, and how often both find the same token likeliest.
    """
    stride = max(len(taught) // ANSWERS, 1)
    some = taught[::stride][:ANSWERS]
    lengths = np.array([len(one) for one in some], dtype=np.int64)
    total, count = torch.zeros(4, dtype=torch.float64), sum(len(one.target) for one in some)
    for part in encode.micro_batches(lengths, most, MAX_ROWS):
        total += sums([some[int(place)] for place in part])
    nll_before, nll_after, divergence, same = (total / count).tolist()
    return Likeness(-nll_before, -nll_after, divergence, same, count)


def summed(own: Tensor, other: Tensor, labels: Tensor) -> Tensor:
    """Return what `likeness` sums, of logits [tokens, vocabulary] and labels [tokens]."""
    found = (
        tokens.nll(own, labels),
        tokens.nll(other, labels),
        logits.divergence(other, own, Divergence.FORWARD_KL, 1.0),
        own.argmax(-1) == other.argmax(-1),
    )
    return torch.stack([one.double().sum() for one in found]).cpu()


def _sums(before: Causal, after: Causal, taught: Sequence[Taught]) -> Tensor:
    """Sum over an answers' tokens: both losses, the divergence, and how often both agree."""
    device = before.model.device
    batch = sequences.pad(taught, before.tokenizer.pad_token_id, device)
    seen = [causal_pass.look(one, batch, Wanted()).hidden for one in (before, after)]
    size = chunks.size(int(before.model.get_output_embeddings().out_features), device)
    sums = torch.zeros(4, dtype=torch.float64)
    for begin in range(0, len(batch.labels), size):
        end = begin + size
        own, other = (
            one.logits(hidden[begin:end]) for one, hidden in zip((before, after), seen, strict=True)
        )
        sums += summed(own, other, batch.labels[begin:end])
    return sums


def keep_teaching(source: Path, target: Path, scheme: str) -> None:
    """Copy how prompts are written down, with what the weights are now."""
    told = json.loads(source.read_text(encoding="utf-8"))
    content = json.dumps(told | {"weights": scheme}, indent=1) + "\n"
    target.write_text(content, encoding="utf-8")


def refuse_garbage(found: Likeness) -> None:
    """Refuse numbers that are none: the gate compares, and nothing compares with those."""
    if not all(np.isfinite([found.before, found.after, found.divergence])):
        raise BadInput(
            Reason.BAD_MODEL,
            "The quantised student's numbers are not finite: its weights overflow in this scheme;"
            " use GPTQ, a smaller quantize.groupSize, or remove spec.quantize",
        )
