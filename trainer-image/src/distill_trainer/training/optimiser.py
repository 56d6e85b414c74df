"""AdamW, its parameter groups and its learning rate, a pure function of the step."""

import math
from collections.abc import Sequence

import torch
from distill_api.training import Optimizer, Schedule
from torch import nn

NEW_LAYER_FACTOR = 10
"""Learning rate of projections over the student's, where the spec does not name it."""


def learning_rate_factor(step: int, steps: int, optimizer: Optimizer) -> float:
    """Factor of the peak learning rate at a step counted from 0, of steps in all.

    Rises linearly over the warm-up, then falls by the schedule and reaches 0 only after the end.
    """
    warmup = round(optimizer.warmup_ratio * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    through = (step - warmup) / max(steps - warmup, 1)
    match optimizer.schedule:
        case Schedule.LINEAR:
            return 1 - through
        case Schedule.COSINE:
            return 0.5 * (1 + math.cos(math.pi * through))
        case Schedule.CONSTANT:
            return 1.0


def projection_learning_rate(optimizer: Optimizer) -> float:
    """Peak learning rate of new projections."""
    return optimizer.projection_learning_rate or NEW_LAYER_FACTOR * optimizer.learning_rate


def build(
    body: Sequence[nn.Parameter], new: Sequence[nn.Parameter], optimizer: Optimizer
) -> torch.optim.AdamW:
    """Make AdamW; each group keeps its peak learning rate as `peak`.

    body: the student's own weights. new: layers that start from nothing, which learn at the
    projections' rate. Offsets and layer norms are not decayed.
    """
    groups = [
        *_groups(body, optimizer.learning_rate, optimizer.weight_decay),
        *_groups(new, projection_learning_rate(optimizer), optimizer.weight_decay),
    ]
    return torch.optim.AdamW(groups, fused=True)


def of_student(student: nn.Module, helpers: nn.Module, optimizer: Optimizer) -> torch.optim.AdamW:
    """Make AdamW for a chain of modules whose first is the encoder; what follows it is new.

    helpers: what is trained beside the student, new as well.
    """
    trained = [(name, p) for name, p in student.named_parameters() if p.requires_grad]
    body = [p for name, p in trained if name.startswith("0.")]
    heads = [p for name, p in trained if not name.startswith("0.")]
    return build(body, [*heads, *helpers.parameters()], optimizer)


def _groups(
    parameters: Sequence[nn.Parameter], peak: float, decay: float
) -> list[dict[str, object]]:
    matrices = [p for p in parameters if p.dim() >= 2]
    vectors = [p for p in parameters if p.dim() < 2]
    made: list[dict[str, object]] = [
        {"params": matrices, "weight_decay": decay, "lr": peak, "peak": peak},
        {"params": vectors, "weight_decay": 0.0, "lr": peak, "peak": peak},
    ]
    return [group for group in made if group["params"]]


def set_learning_rate(adamw: torch.optim.AdamW, factor: float) -> float:
    """Set every group to its peak times factor; return the student's learning rate."""
    for group in adamw.param_groups:
        group["lr"] = group["peak"] * factor
    return float(adamw.param_groups[0]["lr"])
