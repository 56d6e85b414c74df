"""Which numbers a quantised student of what writes keeps its weights in, and where that can work.

One scheme serves all: rounding after training, calibration, and rounding while training.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from distill_api.names import Reason
from distill_api.training import QuantizationMethod, Quantize
from torch import nn
from transformers import PreTrainedModel

from distill_trainer.errors import BadInput

WHOLE_ROWS: Final = -1
SHOWN: Final = 3
"""Layers that a sentence names."""


class Activations(StrEnum):
    """Between which numbers the activations of a token are rounded."""

    LARGEST = "largest"
    """The largest one and its negative, as most kernels do it."""
    SMALLEST_TO_LARGEST = "smallest to largest"
    """As torchao, which has nothing else, rounds them while training; vLLM's kernels do both."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """How weights and activations are rounded."""

    bits: int
    group_size: int
    """Weights that share a scale; -1 for whole rows."""
    symmetric: bool
    """Between the largest weight and its negative, not between smallest and largest."""
    activations: Activations | None = None
    """How those of each token are rounded to 8 bits; None where they stay float."""

    @property
    def name(self) -> str:
        """Return what servers call it."""
        return f"W{self.bits}A{8 if self.activations else 16}"

    def config_groups(self) -> dict[str, Any]:
        """Return it as compressed-tensors writes it down."""
        rows = self.group_size == WHOLE_ROWS
        strategy = {"strategy": "channel"} if rows else {
            "strategy": "group", "group_size": self.group_size
        }  # fmt: skip
        weights = {"num_bits": self.bits, "type": "int", "symmetric": self.symmetric, **strategy}
        return {"group_0": {"targets": ["Linear"], "weights": weights, **self._inputs()}}

    def _inputs(self) -> Mapping[str, Any]:
        if self.activations is None:
            return {}
        symmetric = self.activations is Activations.LARGEST
        tokens = {"num_bits": 8, "type": "int", "symmetric": symmetric, "strategy": "token"}
        return {"input_activations": tokens | {"dynamic": True}}


def of(wanted: Quantize) -> Scheme:
    """Return the scheme of a method.

    AWQ's paper rounds to 4 bits between the smallest and the largest weight; servers have no
    kernel for that with 8 bits.
    """
    if wanted.method is QuantizationMethod.INT8:
        aware = wanted.aware_training
        inputs = Activations.SMALLEST_TO_LARGEST if aware else Activations.LARGEST
        return Scheme(bits=8, group_size=WHOLE_ROWS, symmetric=True, activations=inputs)
    bits = 4 if wanted.method is QuantizationMethod.INT4 else wanted.bits
    symmetric = wanted.method is not QuantizationMethod.AWQ or bits == 8
    return Scheme(bits, wanted.group_size, symmetric)


def head(model: PreTrainedModel) -> list[str]:
    """Return the names of the output head, which stays float: each of its rows is a token."""
    found = model.get_output_embeddings()
    return [name for name, module in model.named_modules() if module is found and name]


def linears(model: PreTrainedModel) -> dict[str, nn.Linear]:
    """Return the layers that are quantised, by name."""
    left = set(head(model))
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name not in left
    }


def check(model: PreTrainedModel, scheme: Scheme) -> None:
    """Refuse groups that do not divide a layer's inputs, before hours of calibration."""
    size, layers = scheme.group_size, linears(model)
    if size == WHOLE_ROWS:
        return
    uneven = {name: one.in_features for name, one in layers.items() if one.in_features % size}
    if not uneven:
        return
    named = ", ".join(f"{name} ({inputs})" for name, inputs in list(uneven.items())[:SHOWN])
    common = math.gcd(size, *(one.in_features for one in layers.values()))
    raise BadInput(
        Reason.BAD_RECIPE,
        f"quantize.groupSize {size} does not divide the inputs of {len(uneven)} of {len(layers)}"
        f" layers, first {named}: use {common}, which divides all of them, or -1 for whole rows",
    )
