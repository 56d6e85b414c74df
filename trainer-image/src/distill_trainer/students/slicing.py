"""Cutting a BERT-like encoder: fewer layers, fewer units in each, with the weights it had.

Which units stay is decided by their magnitude (structured pruning, Li et al. 2017,
arXiv:1608.08710): a unit of the residual stream, a head or a feed-forward unit counts as much as
the squares of all weights that read or write it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

FAMILY = frozenset({"bert", "roberta", "xlm-roberta", "camembert", "electra"})
"""Model types whose weights have BERT's names, so that their widths can be cut."""


class Axis(StrEnum):
    """What an axis of a weight counts."""

    RESIDUAL = "residual"
    HEADS = "heads"
    FEED_FORWARD = "feed-forward"
    OTHER = "other"


R, H, F, O = Axis.RESIDUAL, Axis.HEADS, Axis.FEED_FORWARD, Axis.OTHER  # noqa: E741
AXES: Mapping[str, tuple[Axis, ...]] = {
    r"embeddings\.(word|position|token_type)_embeddings\.weight": (O, R),
    r"embeddings\.LayerNorm\.(weight|bias)": (R,),
    r"encoder\.layer\.\d+\.attention\.self\.(query|key|value)\.weight": (H, R),
    r"encoder\.layer\.\d+\.attention\.self\.(query|key|value)\.bias": (H,),
    r"encoder\.layer\.\d+\.attention\.output\.dense\.weight": (R, H),
    r"encoder\.layer\.\d+\.attention\.output\.(dense\.bias|LayerNorm\.(weight|bias))": (R,),
    r"encoder\.layer\.\d+\.intermediate\.dense\.weight": (F, R),
    r"encoder\.layer\.\d+\.intermediate\.dense\.bias": (F,),
    r"encoder\.layer\.\d+\.output\.dense\.weight": (R, F),
    r"encoder\.layer\.\d+\.output\.(dense\.bias|LayerNorm\.(weight|bias))": (R,),
    r"pooler\.dense\.weight": (R, R),
    r"pooler\.dense\.bias": (R,),
}
"""Pattern of a weight's name → what its axes count."""

LAYER = re.compile(r"(?<=\.)(layer|layers|block|h)\.(\d+)\.|^(layer|layers|block|h)\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class Widths:
    """Sizes of an encoder."""

    residual: int
    heads: int
    head_size: int
    feed_forward: int


def axes(name: str) -> tuple[Axis, ...]:
    """Tell what the axes of the weight of this name count; KeyError for a name that BERT lacks."""
    for pattern, found in AXES.items():
        if re.fullmatch(pattern, name):
            return found
    raise KeyError(name)


def layer_of(name: str) -> int | None:
    """Index of the transformer layer that a weight belongs to, by its name."""
    found = LAYER.search(name)
    return int(found.group(2) or found.group(4)) if found else None


def keep_layers(weights: Mapping[str, Tensor], kept: Sequence[int]) -> dict[str, Tensor]:
    """Return the weights without the other layers, the kept ones numbered anew from 0.

    weights: by name, as of `state_dict`; shapes stay. kept: layers counted from 0.
    """
    place = {layer: index for index, layer in enumerate(kept)}
    chosen: dict[str, Tensor] = {}
    for name, weight in weights.items():
        layer = layer_of(name)
        if layer is None:
            chosen[name] = weight
        elif layer in place:
            number = LAYER.search(name)
            assert number is not None
            renamed = number.group(0).replace(str(layer), str(place[layer]))
            chosen[name[: number.start()] + renamed + name[number.end() :]] = weight
    return chosen


def narrow(weights: Mapping[str, Tensor], now: Widths, wanted: Widths) -> dict[str, Tensor]:
    """Weights cut to the wanted widths, the strongest units of each kind kept in their order.

    Residual units are the same in all layers, as the stream runs through them; heads and
    feed-forward units are chosen in each layer by itself. Names must be BERT's.
    """
    residual = _strongest(_strength(weights, Axis.RESIDUAL, None), wanted.residual)
    chosen: dict[str, Tensor] = {}
    picks: dict[int | None, dict[Axis, Tensor]] = {}
    for name, weight in weights.items():
        layer = layer_of(name)
        if layer not in picks:
            picks[layer] = {Axis.RESIDUAL: residual} | _of_layer(weights, layer, now, wanted)
        cut = weight
        for dimension, axis in enumerate(axes(name)):
            if axis is not Axis.OTHER:
                cut = cut.index_select(dimension, picks[layer][axis])
        chosen[name] = cut.clone()
    return chosen


def _of_layer(
    weights: Mapping[str, Tensor], layer: int | None, now: Widths, wanted: Widths
) -> dict[Axis, Tensor]:
    """Units of the heads and the feed-forward block that stay in one layer."""
    if layer is None:
        return {}
    by_head = _strength(weights, Axis.HEADS, layer).view(now.heads, now.head_size).sum(dim=1)
    heads = _strongest(by_head, wanted.heads)
    units = heads.unsqueeze(1) * now.head_size + torch.arange(now.head_size)
    feed_forward = _strongest(_strength(weights, Axis.FEED_FORWARD, layer), wanted.feed_forward)
    return {Axis.HEADS: units.flatten(), Axis.FEED_FORWARD: feed_forward}


def _strength(weights: Mapping[str, Tensor], kind: Axis, layer: int | None) -> Tensor:
    """Sum of squares of all matrices that touch each unit of a kind; layer None: in all layers."""
    total = torch.zeros(())
    for name, weight in weights.items():
        if weight.dim() < 2 or (layer is not None and layer_of(name) != layer):
            continue
        for dimension, axis in enumerate(axes(name)):
            if axis is kind:
                total = total + weight.double().square().sum(dim=1 - dimension)
    return total


def _strongest(strength: Tensor, count: int) -> Tensor:
    """Return the indices of the count strongest units, in rising order."""
    return torch.sort(torch.argsort(strength, descending=True, stable=True)[:count]).values
