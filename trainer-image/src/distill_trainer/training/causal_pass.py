"""One forward pass of a causal model over a batch, and what losses look at of it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from distill_trainer.students.causal import Causal
from distill_trainer.training.sequences import Batch


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked at beside the last state."""

    layers: Sequence[int] = ()
    """Layers whose output is wanted, counted from 0."""
    attentions: Sequence[int] = ()
    """Layers whose attention is wanted."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model made of the places whose next token is learnt; prompt and padding left out."""

    hidden: Tensor
    """[tokens, width]: what the head reads."""
    layers: list[Tensor] = field(default_factory=list)
    """[tokens, width] of each wanted layer."""
    attentions: list[Tensor] = field(default_factory=list)
    """[tokens, heads, length] of each wanted layer."""


def look(causal: Causal, batch: Batch, wanted: Wanted, *, bfloat16: bool = False) -> Seen:
    """Run a model on a batch."""
    asked: dict[str, Any] = {"use_cache": False}
    if wanted.layers:
        asked["output_hidden_states"] = True
    if wanted.attentions:
        asked["output_attentions"] = True
    if batch.positions is None:
        asked["attention_mask"] = batch.mask
    else:
        asked["position_ids"] = batch.positions
    with precision(batch.ids.device, bfloat16=bfloat16):
        out = causal.body(input_ids=batch.ids, **asked)
    return Seen(
        hidden=out.last_hidden_state[:, :-1][batch.learnt],
        layers=[out.hidden_states[layer + 1][:, :-1][batch.learnt] for layer in wanted.layers],
        attentions=[
            out.attentions[layer].transpose(1, 2)[:, :-1][batch.learnt]
            for layer in wanted.attentions
        ],
    )


def visible(batch: Batch) -> Tensor:
    """Tell which places each learnt place may look at: bool [tokens, length]."""
    length = batch.ids.shape[1]
    before = torch.ones(length, length, dtype=torch.bool, device=batch.ids.device).tril()
    same = batch.owner.unsqueeze(2) == batch.owner.unsqueeze(1)
    seen = before.unsqueeze(0) & same & (batch.owner > 0).unsqueeze(1)
    return seen[:, :-1][batch.learnt]


def precision(device: torch.device, *, bfloat16: bool) -> AbstractContextManager[object]:
    """Compute in bfloat16 where asked; weights, sums and losses stay in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if bfloat16 else nullcontext()
