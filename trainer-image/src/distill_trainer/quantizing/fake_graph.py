"""Rounds an encoder while it is trained as its INT8 graph in ONNX Runtime will.

Source: Jacob et al. 2017, arXiv:1712.05877; the gradient passes the rounding as if it were none.
Not torchao's: it rounds activations by the token and weights by the largest over 127.5, and cannot
say a scale for the whole of a batch, 64 steps for the largest weight (int8.quantize tells why they
are so few), or a table of embeddings between its smallest and its largest entry.
"""

from typing import Any, Final

import torch
from distill_api.names import Reason
from torch import Tensor, nn
from torch.nn import functional

from distill_trainer.errors import BadInput

STEPS: Final = 64
"""Steps from 0 to the largest weight of an output: int8 with reduce_range, symmetric."""
LEVELS: Final = 255
"""Steps from the smallest to the largest number of activations, or of a table: uint8."""
SHOWN: Final = 3
"""Modules that a sentence names."""

type Params = tuple[Tensor, Tensor]
"""Scale and zero point, float32 scalars."""


class _Straight(torch.autograd.Function):
    """Rounded numbers, whose gradient is that of the numbers before."""

    @staticmethod
    def forward(_context: Any, _numbers: Tensor, rounded: Tensor) -> Tensor:
        return rounded.view_as(rounded)

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class _Product(torch.autograd.Function):
    """states [..., in] times weight [out, in]: whole numbers are multiplied, then scaled.

    float32 holds their sums exactly up to 2^24, as the graph's int32 does, so that both give the
    same bits; of scaled numbers the sums would depend on their order, and a step of an activation
    in the next layer on that.
    """

    @staticmethod
    def forward(context: Any, states: Tensor, weight: Tensor) -> Tensor:
        wide = states.float()
        params, scale = states_params(wide), weight_scale(weight)
        left, right = _whole(wide, params), torch.round(weight / scale)
        context.save_for_backward(left, right, params[0], scale)
        return functional.linear(left, right) * (params[0] * scale.T)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        left, right, states_scale, scale = context.saved_tensors
        (gradient,) = gradients
        of_states = of_weight = None
        if context.needs_input_grad[0]:
            of_states = gradient @ (right * scale).to(gradient.dtype)
        if context.needs_input_grad[1]:
            rows = (left * states_scale).to(gradient.dtype).flatten(0, -2)
            of_weight = gradient.flatten(0, -2).T @ rows
        return of_states, of_weight


class RoundedLinear(nn.Linear):
    """A layer that multiplies the integers which the graph will multiply."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Return [..., out_features] of [..., in_features]."""
        made: Tensor = _Product.apply(input, self.weight)
        return made if self.bias is None else made + self.bias


class RoundedEmbedding(nn.Embedding):
    """A table whose rows are rounded between the smallest and the largest entry of all."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Return the rows [..., embedding_dim] of ids [...]."""
        rows = super().forward(input)
        params = table_params(self.weight.detach())
        made: Tensor = _Straight.apply(rows, _whole(rows.detach(), params) * params[0])
        return made


ROUNDED: Final[dict[type[nn.Module], type[nn.Module]]] = {
    nn.Linear: RoundedLinear,
    nn.Embedding: RoundedEmbedding,
}


def prepare(model: nn.Module) -> None:
    """Let every layer and table round in each pass, in place.

    Names and weights stay as they are, so checkpoints are those of the float student. Raises
    BadInput for a student with weights that the graph would round and this does not.
    """
    _refuse_others(model)
    for module in model.modules():
        if type(module) in ROUNDED:
            module.__class__ = ROUNDED[type(module)]


def finish(model: nn.Module) -> None:
    """Give a model its plain layers back, with the weights that were trained; in place."""
    plain = {rounded: float_one for float_one, rounded in ROUNDED.items()}
    for module in model.modules():
        if type(module) in plain:
            module.__class__ = plain[type(module)]


def layers(model: nn.Module) -> int:
    """Count the layers that round; RuntimeError where one computes without.

    A student that was trained float for some steps only looks trained. Layers of the body that have
    no part in what the student gives count, and its graph leaves them out.
    """
    if any(type(module) in ROUNDED for module in model.modules()):
        raise RuntimeError("a layer lost its rounding while training")
    return sum(isinstance(module, RoundedLinear) for module in model.modules())


def weight_scale(weight: Tensor) -> Tensor:
    """Return the scale of each output [out, 1] of a weight [out, in]."""
    scale = weight.abs().amax(dim=1, keepdim=True) / STEPS
    return torch.where(scale < torch.finfo(torch.float32).tiny, torch.ones_like(scale), scale)


def rounded_weight(weight: Tensor) -> Tensor:
    """Round a weight [out, in] to nearest, the scale of each output apart."""
    scale = weight_scale(weight)
    return torch.round(weight / scale) * scale


def states_params(states: Tensor) -> Params:
    """Return how activations are rounded: by the smallest and the largest, 0 among them."""
    least, most = torch.aminmax(states)
    low, high = least.clamp(max=0), most.clamp(min=0)
    scale = torch.where(high == low, torch.ones_like(high), (high - low) / LEVELS)
    return scale, torch.round((-low / scale).clamp(0, LEVELS))


def rounded_states(states: Tensor) -> Tensor:
    """Round activations to nearest of LEVELS + 1 numbers."""
    params = states_params(states)
    return _whole(states, params) * params[0]


def table_params(table: Tensor) -> Params:
    """Return how a table is rounded; in float64 until the scale is known, as the quantiser does."""
    low, high = torch.aminmax(table)
    low, high = low.clamp(max=0).double(), high.clamp(min=0).double()
    scale = (high - low) / LEVELS
    if scale < torch.finfo(torch.float32).tiny:
        return torch.ones_like(scale).float(), torch.zeros_like(scale).float()
    return scale.float(), torch.round(-low / scale).float()


def _whole(numbers: Tensor, params: Params) -> Tensor:
    """Return the steps that each number is away from 0."""
    scale, zero = params
    return (torch.round(numbers / scale) + zero).clamp(0, LEVELS) - zero


def _refuse_others(model: nn.Module) -> None:
    """Refuse weights that are multiplied otherwise, such as those of convolutions."""
    others = sorted(
        f"{name} ({type(module).__name__})"
        for name, module in model.named_modules()
        if type(module) not in ROUNDED
        and any(weight.ndim > 1 for weight in module.parameters(recurse=False))
    )
    if others:
        raise BadInput(
            Reason.BAD_RECIPE,
            "quantize.awareTraining rounds linear layers and tables of embeddings, and the student"
            f" has other weights in {len(others)} modules, first {', '.join(others[:SHOWN])}: set"
            " it to false, and the trained student is quantised afterwards",
        )
