"""The graph of a causal student: tokens and a cache in, logits and the longer cache out."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from distill_common import exporting, graphs
from distill_common.exporting import Axes, Part, Signature
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from distill_trainer.exporting import files
from distill_trainer.exporting.running import LOGITS, PAST, PRESENT
from distill_trainer.students.causal import Causal

NAMES: Final = (graphs.FLOAT,)
TRACED: Final = (2, 3, 2)
"""Rows, cached and new tokens of the trace: none is 1, as axes of that size would stay so."""


class Decoder(torch.nn.Module):
    """A causal model whose cache is made of plain tensors, as graphs have them."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor, positions: Tensor, *past: Tensor) -> Any:
        """Return logits [rows, new, tokens], then keys and values of each layer.

        ids, positions: int64 [rows, new]. mask: int64 [rows, cached + new]. past: keys and values
        of each layer in turns, float32 [rows, heads, cached, width].
        """
        cache = DynamicCache()
        for layer in range(len(past) // 2):
            cache.update(past[2 * layer], past[2 * layer + 1], layer)
        seen = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        return (seen.logits, *flat(seen.past_key_values))


def flat(cache: Any) -> Iterator[Tensor]:
    """Yield keys and values of each layer in turns."""
    for layer in cache.layers:
        yield from (layer.keys, layer.values)


def export(student: Causal, target: Path, *, opset: int) -> None:
    """Write the graph; its names are those that optimum gave such graphs."""
    rows, cached, new = TRACED
    module = Decoder(student.model)
    mask = torch.ones(rows, cached + new, dtype=torch.long)
    ids = torch.full((rows, new), student.ends[0])
    positions = torch.arange(cached, cached + new).expand(rows, -1)
    past = _read(student, rows, cached)
    part = Part(module, (ids, mask, positions, *past), _signature(len(past) // 2))
    # Many heads share the word embeddings' weights, a fifth of a small model.
    files.write(partial(exporting.trace, part, opset=opset, fold=False), target)


def _read(student: Causal, rows: int, length: int) -> list[Tensor]:
    """Return the cache of some tokens, in the shapes that this architecture has."""
    ids = torch.full((rows, length), student.ends[0])
    with torch.no_grad():
        seen = student.model(input_ids=ids, use_cache=True, past_key_values=DynamicCache())
    return list(flat(seen.past_key_values))


def _signature(layers: int) -> Signature:
    new: Axes = {0: "batch", 1: "length"}
    inputs: dict[str, Axes] = {
        "input_ids": new,
        "attention_mask": {0: "batch", 1: "total"},
        "position_ids": new,
    }
    outputs: dict[str, Axes] = {LOGITS: new}
    for layer in range(layers):
        for part in ("key", "value"):
            inputs[f"{PAST}{layer}.{part}"] = {0: "batch", 2: "past"}
            outputs[f"{PRESENT}{layer}.{part}"] = {0: "batch", 2: "total"}
    return Signature(inputs, outputs)
