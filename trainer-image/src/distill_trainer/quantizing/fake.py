"""Rounds weights while a student is trained, as they will be rounded afterwards.

Source: Jacob et al. 2017, arXiv:1712.05877; the gradient passes the rounding as if it were none.
One torchao configuration serves both ends: what is prepared by it could be converted by it.
"""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from distill_trainer.quantizing import schemes
from distill_trainer.quantizing.schemes import WHOLE_ROWS, Scheme


def base(scheme: Scheme) -> Any:
    """Return torchao's configuration of a scheme."""
    from torchao.quantization import (
        Int8DynamicActivationIntxWeightConfig,
        IntxWeightOnlyConfig,
    )
    from torchao.quantization.granularity import PerAxis, PerGroup

    rows = scheme.group_size == WHOLE_ROWS
    granularity = PerAxis(0) if rows else PerGroup(scheme.group_size)
    weights = getattr(torch, f"int{scheme.bits}")  # torch's stubs lack the small ones
    if scheme.activations is None:
        return IntxWeightOnlyConfig(weight_dtype=weights, granularity=granularity)
    return Int8DynamicActivationIntxWeightConfig(
        weight_dtype=weights, weight_granularity=granularity
    )


def prepare(model: PreTrainedModel, scheme: Scheme) -> None:
    """Let every layer but the head round its weights in each pass, in place.

    Names and weights stay as they are, so checkpoints are those of the float student. Raises
    BadInput where the groups do not divide a layer's inputs.
    """
    from torchao.quantization import quantize_
    from torchao.quantization.qat import QATConfig

    schemes.check(model, scheme)
    chosen = set(schemes.linears(model))
    quantize_(
        model,
        QATConfig(base(scheme), step="prepare"),
        filter_fn=lambda _module, name: name in chosen,
    )


def layers(model: nn.Module) -> int:
    """Count the layers that round; RuntimeError where one was told not to, which training never is.

    A student that was trained float for some steps only looks trained.
    """
    from torchao.quantization.qat.linear import FakeQuantizedLinear

    found = {n: one for n, one in model.named_modules() if isinstance(one, FakeQuantizedLinear)}
    for name, layer in found.items():
        for fake in (layer.weight_fake_quantizer, layer.activation_fake_quantizer):
            if fake is not None and not fake.enabled:
                raise RuntimeError(f"the rounding of {name} was switched off while training")
    return len(found)


@torch.no_grad()
def settle(model: PreTrainedModel, scheme: Scheme) -> None:
    """Give every layer the weights that its passes saw while training, in place.

    The largest weight of a group lies half-way between two integers by definition of its scale.
    torchao multiplies by the scale's inverse and llm-compressor divides by the scale, so that each
    would round one in two hundred weights otherwise than the other, and those are the largest.
    """
    from torchao.quantization import quantize_
    from torchao.quantization.qat import QATConfig

    for layer in schemes.linears(model).values():
        probe = nn.Sequential(nn.Linear(layer.in_features, 1, bias=False))
        quantize_(probe, QATConfig(base(scheme), step="prepare"))
        see: Any = probe[0].weight_fake_quantizer
        layer.weight.copy_(see(layer.weight))


def finish(model: PreTrainedModel) -> None:
    """Give a model its plain layers back, with the weights that were trained; in place."""
    from torchao.quantization import quantize_
    from torchao.quantization.qat import QATConfig

    quantize_(model, QATConfig(step="convert"))
