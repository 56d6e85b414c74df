"""FSDP2: every process keeps a piece of each weight, and of its gradient and optimiser state."""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from distill_trainer.distributed.strategy import Called, Moments, average, load_moments, trained
from distill_trainer.distributed.world import World


class Sharded:
    """Shares a copy of the student; helpers are small and stay whole on every process."""

    fleeting = False  # a head is no block, and so it stays gathered until the backward pass

    def __init__(self, world: World) -> None:
        self.world = world
        self._called: Called | None = None
        self._helpers: tuple[nn.Parameter, ...] = ()

    def wrap(self, student: nn.Module, helpers: nn.Module, adamw: torch.optim.AdamW) -> nn.Module:
        """Shard a copy block by block; the student itself is what the best weights go into."""
        self._helpers = tuple(helpers.parameters())
        equalise(self.world, student, helpers)
        module = copy.deepcopy(student)
        called = Called(module)
        mesh = init_device_mesh(self.world.device.type, (self.world.size,))
        for block in blocks(module):
            fully_shard(block, mesh=mesh)
        fully_shard(called, mesh=mesh)
        replace(adamw, dict(zip_parameters(student, module)))
        self._called = called
        return module

    def taught(self, student: nn.Module) -> nn.Module:
        """Return the copy."""
        return student if self._called is None else self._called.student

    def run[T](self, student: nn.Module, forward: Callable[[nn.Module], T]) -> T:
        """Gather the weights that no block holds, call forward, let them go."""
        return forward(student) if self._called is None else self._called(forward)

    def part(self, *, last: bool) -> AbstractContextManager[object]:  # noqa: ARG002 - every pass reduces
        """Reduce in every pass: whole gradients are never kept."""
        return nullcontext()

    def backward(self, output: Tensor, gradient: Tensor | None = None) -> None:
        """Add the gradients of what led to an output."""
        torch.autograd.backward(output, gradient)

    def clip(self, adamw: torch.optim.AdamW, max_norm: float) -> float:
        """Clip by the norm over all pieces and the helpers."""
        average(self.world, self._helpers)
        shared = [p for p in trained(adamw) if isinstance(p, DTensor)]
        whole = [p for p in trained(adamw) if not isinstance(p, DTensor)]
        squares = [norm(part) ** 2 for part in (shared, whole)]
        total = torch.tensor(math.sqrt(sum(squares)))
        for part in (shared, whole):
            clip_grads_with_norm_(part, max_norm, total)
        return float(total)

    def step(self, adamw: torch.optim.AdamW) -> None:
        """Do the optimiser's step on the pieces."""
        adamw.step()

    def whole(self, tensor: Tensor) -> Tensor:
        """Gather a weight or state."""
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def gradient(self, parameter: nn.Parameter) -> Tensor | None:
        """Gather a gradient."""
        return None if parameter.grad is None else self.whole(parameter.grad)

    def moments(self, adamw: torch.optim.AdamW) -> Moments:
        """Gather the optimiser's state."""
        state = adamw.state_dict()["state"]
        return {
            number: {name: self.whole(value) for name, value in of.items()}
            for number, of in state.items()
        }

    def set_moments(self, adamw: torch.optim.AdamW, moments: Moments) -> None:
        """Keep this process's piece of the state."""
        parameters = trained(adamw)
        pieces = {
            number: {name: self._piece(value, parameters[number]) for name, value in of.items()}
            for number, of in moments.items()
        }
        load_moments(adamw, pieces)

    def _piece(self, full: Tensor, like: Tensor) -> Tensor:
        if not isinstance(like, DTensor) or full.dim() != like.dim():
            return full
        moved = full.to(self.world.device)
        return distribute_tensor(moved, like.device_mesh, like.placements)

    def finish(self) -> None:
        """Call the student itself from now on."""
        self._called = None


def equalise(world: World, student: nn.Module, helpers: nn.Module) -> None:
    """Let every process begin with the first one's weights."""
    for tensor in (*student.state_dict().values(), *helpers.parameters()):
        tensor.data.copy_(world.copied(tensor.data))


def norm(parameters: Iterable[nn.Parameter]) -> float:
    """Norm over all gradients, gathered where they are in pieces."""
    found = get_total_norm([p.grad for p in parameters if p.grad is not None])
    return float(found.full_tensor() if isinstance(found, DTensor) else found)


def blocks(module: nn.Module) -> list[nn.Module]:
    """List the layers of a transformer: each is gathered alone while it computes.

    Parts of a layer that are a list too belong to it.
    """
    found: list[nn.Module] = []
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            found += [layer for layer in child if any(True for _ in layer.parameters())]
        else:
            found += blocks(child)
    return found


def zip_parameters(
    student: nn.Module, module: nn.Module
) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """Pair the parameters of a student with those of its copy."""
    return list(zip(student.parameters(), module.parameters(), strict=True))


def replace(adamw: torch.optim.AdamW, by: Mapping[nn.Parameter, nn.Parameter]) -> None:
    """Let an optimiser train other parameters, pieces and whole ones in groups of their own."""
    groups: list[dict[str, Any]] = []
    for group in adamw.param_groups:
        moved = [by.get(parameter, parameter) for parameter in group["params"]]
        for kind in (True, False):
            chosen = [p for p in moved if isinstance(p, DTensor) is kind]
            if chosen:
                groups.append({**group, "params": chosen})
    adamw.param_groups = groups
