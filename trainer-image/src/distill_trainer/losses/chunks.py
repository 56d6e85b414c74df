"""Losses on logits in chunks of tokens, so that the whole [tokens, vocabulary] never exists."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

LOGITS = 1 << 24
"""Numbers of one chunk's logits on a CPU: 64 MiB in float32."""
LOGITS_ACCELERATOR = 1 << 26


def size(vocabulary: int, device: torch.device) -> int:
    """Tokens of one chunk, computed on a device."""
    most = LOGITS if device.type == "cpu" else LOGITS_ACCELERATOR
    return max(most // vocabulary, 16)


def total(
    hidden: Tensor,
    loss: Callable[[Tensor, int, int], Tensor],
    tokens: int,
    weights: Sequence[nn.Parameter],
) -> Tensor:
    """Return a sum over tokens as a scalar with gradients; each chunk's are computed at once.

    hidden: [tokens, width]. loss(rows, begin, end): scalar sum over the tokens begin … end, whose
    hidden states are rows. tokens: of one chunk; only the logits of one chunk are alive at a time.
    weights: what loss uses beside the rows, the head's. Gradients are sums over all chunks, each
    added once and in the backward pass alone, as wrappers of several processes ask for.
    """
    learnt = [weight for weight in weights if weight.requires_grad]
    found: Tensor = _Total.apply(hidden, loss, tokens, *learnt)
    return found


def again(hidden: Tensor, loss: Callable[[Tensor, int, int], Tensor], tokens: int) -> Tensor:
    """Return the same scalar; each chunk's logits are computed again in the backward pass.

    For a head whose weights are here only while it computes. loss may be called twice for a chunk.
    """
    sums = []
    for begin in range(0, len(hidden), tokens):
        end = min(begin + tokens, len(hidden))
        sums.append(checkpoint(loss, hidden[begin:end], begin, end, use_reentrant=False))
    return torch.stack(sums).sum()


class _Total(torch.autograd.Function):
    """Knows its gradients before it is asked."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        loss: Callable[[Tensor, int, int], Tensor],
        tokens: int,
        *weights: Tensor,
    ) -> Tensor:
        of_hidden = torch.zeros_like(hidden)
        of_weights = [torch.zeros_like(weight) for weight in weights]
        sums = []
        for begin in range(0, len(hidden), tokens):
            end = min(begin + tokens, len(hidden))
            with torch.enable_grad():
                rows = hidden[begin:end].detach().requires_grad_()
                one = loss(rows, begin, end)
                gradients = torch.autograd.grad(one, [rows, *weights])
            of_hidden[begin:end] = gradients[0]
            for whole, gradient in zip(of_weights, gradients[1:], strict=True):
                whole.add_(gradient)
            sums.append(one.detach())
        ctx.gradients = [of_hidden, *of_weights]
        return torch.stack(sums).sum()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        gradients = [gradient.mul_(outer[0]) for gradient in ctx.gradients]
        ctx.gradients = []
        return gradients[0], None, None, *gradients[1:]
