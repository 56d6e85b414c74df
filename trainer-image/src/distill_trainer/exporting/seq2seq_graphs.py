"""The graphs of an encoder-decoder: what reads, what writes first, what writes on by a cache."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from distill_common import exporting
from distill_common.exporting import Axes, Part, Signature
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from distill_trainer.exporting import files
from distill_trainer.exporting.running import LOGITS, PAST, PRESENT, STATES
from distill_trainer.students.seq2seq import Seq2Seq

ENCODER: Final = "encoder_model.onnx"
FIRST: Final = "decoder_model.onnx"
NEXT: Final = "decoder_with_past_model.onnx"
NAMES: Final = (ENCODER, FIRST, NEXT)
"""The names that optimum gave such graphs, and that runtimes look for."""
QUANTIZED: Final = tuple(name.replace(".onnx", "_quantized.onnx") for name in NAMES)
PARTS: Final = ("decoder.key", "decoder.value", "encoder.key", "encoder.value")
"""Of each layer's cache: what was written, and what was read."""
TRACED: Final = (2, 5, 2)
"""Rows, read and written tokens of the trace: none is 1, as axes of that size would stay so."""
READ: Final[Axes] = {0: "batch", 1: "read"}


class Encoder(torch.nn.Module):
    """What reads."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.encoder = model.get_encoder()

    def forward(self, ids: Tensor, mask: Tensor) -> Any:
        """Return states [rows, read, width]. ids, mask: int64 [rows, read]."""
        return self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state


class First(torch.nn.Module):
    """What writes, without a cache before it."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, states: Tensor, mask: Tensor) -> Any:
        """Return logits [rows, written, tokens], then the cache.

        ids: int64 [rows, written]. states: [rows, read, width]. mask: int64 [rows, read].
        """
        seen = self.model(
            decoder_input_ids=ids,
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=mask,
            past_key_values=EncoderDecoderCache(DynamicCache(), DynamicCache()),
            use_cache=True,
        )
        return (seen.logits, *_flat(seen.past_key_values))


class Next(torch.nn.Module):
    """What writes one token more by the cache of those before."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor, *past: Tensor) -> Any:
        """Return logits [rows, 1, tokens], then what the cache has of written tokens.

        ids: int64 [rows, 1]. mask: int64 [rows, read]. past: of each layer its PARTS in their
        order, [rows, heads, written or read, width].
        """
        seen = self.model(
            decoder_input_ids=ids,
            # Only its length is looked at: what was read is in the cache.
            encoder_outputs=BaseModelOutput(last_hidden_state=mask.unsqueeze(-1).to(past[0].dtype)),
            attention_mask=mask,
            past_key_values=_cache(past),
            use_cache=True,
        )
        layers = seen.past_key_values.self_attention_cache.layers
        return (seen.logits, *(part for one in layers for part in (one.keys, one.values)))


def _cache(past: tuple[Tensor, ...]) -> EncoderDecoderCache:
    written, read = DynamicCache(), DynamicCache()
    layers = len(past) // len(PARTS)
    for layer in range(layers):
        own = past[layer * len(PARTS) : (layer + 1) * len(PARTS)]
        written.update(own[0], own[1], layer)
        read.update(own[2], own[3], layer)
    made = EncoderDecoderCache(written, read)
    made.is_updated = dict.fromkeys(range(layers), True)
    return made


def _flat(cache: Any) -> Iterator[Tensor]:
    both = cache.self_attention_cache.layers, cache.cross_attention_cache.layers
    for written, read in zip(*both, strict=True):
        yield from (written.keys, written.values, read.keys, read.values)


def export(student: Seq2Seq, folder: Path, *, opset: int) -> None:
    """Write the three graphs into a folder."""
    rows, read, written = TRACED
    ids = torch.full((rows, read), student.ends[0])
    mask, before = torch.ones_like(ids), torch.full((rows, written), student.start)
    encoder, first = Encoder(student.model).eval(), First(student.model).eval()
    with torch.no_grad():
        states = encoder(ids, mask)
        past = first(before, states, mask)[1:]
    layers = len(past) // len(PARTS)
    parts = {
        ENCODER: Part(encoder, (ids, mask), _of_encoder()),
        FIRST: Part(first, (before, states, mask), _of_first(layers)),
        NEXT: Part(Next(student.model), (before[:, :1], mask, *past), _of_next(layers)),
    }
    for name, part in parts.items():
        files.write(partial(exporting.trace, part, opset=opset), folder / name)


def _of_encoder() -> Signature:
    return Signature({"input_ids": READ, "attention_mask": READ}, {STATES: READ})


def _of_first(layers: int) -> Signature:
    written: Axes = {0: "batch", 1: "length"}
    inputs: dict[str, Axes] = {
        "input_ids": written,
        "encoder_hidden_states": READ,
        "encoder_attention_mask": READ,
    }
    return Signature(inputs, {LOGITS: written} | _cached(PRESENT, layers, PARTS, "length"))


def _of_next(layers: int) -> Signature:
    inputs: dict[str, Axes] = {"input_ids": {0: "batch"}, "encoder_attention_mask": READ}
    return Signature(
        inputs | _cached(PAST, layers, PARTS, "past"),
        {LOGITS: {0: "batch"}} | _cached(PRESENT, layers, PARTS[:2], "total"),
    )


def _cached(prefix: str, layers: int, parts: tuple[str, ...], written: str) -> dict[str, Axes]:
    return {
        f"{prefix}{layer}.{part}": {
            0: "batch",
            2: written if part.startswith("decoder") else "read",
        }
        for layer in range(layers)
        for part in parts
    }
