"""One forward pass of a causal model over a batch, and what losses look at of it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from distill_api.names import Reason
from torch import Tensor, nn

from distill_trainer.errors import BadInput
from distill_trainer.students.causal import Causal
from distill_trainer.training.sequences import Batch

DROPOUTS: Final = ("attn_dropout", "attention_dropout")
"""What attention layers call the dropout of where they look, a number or a module."""


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


def undimmed(causal: Causal) -> None:
    """Let no dropout fall upon the attention that a model tells of, in place.

    Models tell it as it is after dropout: a place that was dropped would seem never looked at, and
    its logarithm would be all that is learnt. Raises BadInput where one cannot be told without.
    """
    for module in causal.model.modules():
        for name in DROPOUTS:
            held = getattr(module, name, None)
            if isinstance(held, nn.Dropout):
                held.p = 0.0
            elif isinstance(held, float):
                setattr(module, name, 0.0)
    if not _tells_whole(causal):
        raise BadInput(
            Reason.BAD_RECIPE,
            f"models of type {causal.model.config.model_type} tell no attention that is whole while"
            " they are trained: remove attentions from the recipe, or take another student",
        )


@torch.no_grad()
def _tells_whole(causal: Causal) -> bool:
    """Tell whether what each token looks at adds up to 1 in every layer while training."""
    was, model = causal.model.training, causal.model
    ids = torch.arange(1, 9, device=model.device).reshape(1, -1)
    with torch.random.fork_rng():
        model.train()
        told = causal.body(input_ids=ids, output_attentions=True, use_cache=False).attentions
        model.train(was)
    sums = [one.sum(dim=-1) for one in told]
    return all(torch.allclose(one, torch.ones_like(one), atol=1e-4) for one in sums)


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
