"""How the processes share the student's weights, gradients and optimiser state.

Every strategy averages the gradients of the processes. A course gives each process its own share
of the whole batch's gradient times the number of processes, so that the mean is the sum.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from distill_trainer.distributed.world import ALONE, World

Moments = dict[int, dict[str, Tensor]]
"""Optimiser state by the number of its parameter in AdamW's groups, each tensor in full."""


class Strategy(Protocol):
    """What the loop and the courses ask of a strategy; every process asks it at the same time."""

    world: World

    @property
    def fleeting(self) -> bool:
        """Whether weights are here only while their layer computes: at no other time in a pass."""
        ...

    def wrap(self, student: nn.Module, helpers: nn.Module, adamw: torch.optim.AdamW) -> nn.Module:
        """Prepare for training; return the module whose state is that of the student."""
        ...

    def taught(self, student: nn.Module) -> nn.Module:
        """Return the module whose weights are trained: the student or a copy of it."""
        ...

    def run[T](self, student: nn.Module, forward: Callable[[nn.Module], T]) -> T:
        """Call forward with the module whose weights are trained, ready to be computed with.

        Every forward pass goes through here: wrappers prepare the weights around it, and see
        what it returns, a tensor where a gradient is wanted.
        """
        ...

    def part(self, *, last: bool) -> AbstractContextManager[object]:
        """Surround forward and backward of one of a step's passes; the last one reduces."""
        ...

    def backward(self, output: Tensor, gradient: Tensor | None = None) -> None:
        """Add the gradients of what led to an output; no gradient is needed of a scalar."""
        ...

    def clip(self, adamw: torch.optim.AdamW, max_norm: float) -> float:
        """Clip the gradients of all that is trained; return the norm before."""
        ...

    def step(self, adamw: torch.optim.AdamW) -> None:
        """Do the optimiser's step."""
        ...

    def whole(self, tensor: Tensor) -> Tensor:
        """Return a weight in full, wherever its pieces are."""
        ...

    def gradient(self, parameter: nn.Parameter) -> Tensor | None:
        """Return the gradient of something that AdamW trains in full, before the step."""
        ...

    def moments(self, adamw: torch.optim.AdamW) -> Moments:
        """Return the optimiser's state."""
        ...

    def set_moments(self, adamw: torch.optim.AdamW, moments: Moments) -> None:
        """Set the optimiser's state."""
        ...

    def finish(self) -> None:
        """End the training: the student is called itself again."""
        ...


class Called(nn.Module):
    """A student that is called by what asks it, so that wrappers see one module, one forward.

    A generator's pass, say, is not its forward: its head works on chunks of tokens.
    """

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student

    def forward[T](self, run: Callable[[nn.Module], T]) -> T:
        """Let something be done with the student."""
        return run(self.student)


class Alone:
    """One process, or several that hold everything (DDP): all weights on each of them."""

    fleeting = False

    def __init__(self, world: World = ALONE) -> None:
        self.world = world
        self._module: nn.Module | None = None
        self._helpers: tuple[nn.Parameter, ...] = ()

    def wrap(self, student: nn.Module, helpers: nn.Module, adamw: torch.optim.AdamW) -> nn.Module:  # noqa: ARG002 - its parameters stay as they are
        """Leave the student as it is where there is one process."""
        self._helpers = tuple(helpers.parameters())
        if self.world.size > 1:
            for parameter in self._helpers:
                parameter.data.copy_(self.world.copied(parameter.data))
            self._module = self._wrapped(student)
        return student

    def _wrapped(self, student: nn.Module) -> nn.Module:
        # Calling the student itself would leave the gradients of the processes apart.
        # Some weights are never used (a pooler behind mean pooling). Buffers do not change.
        return DistributedDataParallel(
            Called(student), find_unused_parameters=True, forward_sync_buffers=False
        )

    def taught(self, student: nn.Module) -> nn.Module:
        """Return the student."""
        return student

    def run[T](self, student: nn.Module, forward: Callable[[nn.Module], T]) -> T:
        """Call forward with the student."""
        return forward(student) if self._module is None else self._module(forward)

    def part(self, *, last: bool) -> AbstractContextManager[object]:
        """Reduce in the last pass only."""
        if last or not isinstance(self._module, DistributedDataParallel):
            return nullcontext()
        return self._module.no_sync()

    def backward(self, output: Tensor, gradient: Tensor | None = None) -> None:
        """Add the gradients of what led to an output."""
        torch.autograd.backward(output, gradient)

    def clip(self, adamw: torch.optim.AdamW, max_norm: float) -> float:
        """Clip by the norm over all parameters."""
        average(self.world, self._helpers)
        return float(torch.nn.utils.clip_grad_norm_(trained(adamw), max_norm))

    def step(self, adamw: torch.optim.AdamW) -> None:
        """Do the optimiser's step."""
        adamw.step()

    def whole(self, tensor: Tensor) -> Tensor:
        """Return the tensor, which is whole."""
        return tensor

    def gradient(self, parameter: nn.Parameter) -> Tensor | None:
        """Return the parameter's own."""
        return parameter.grad

    def moments(self, adamw: torch.optim.AdamW) -> Moments:
        """Return the optimiser's own."""
        return dict(adamw.state_dict()["state"])

    def set_moments(self, adamw: torch.optim.AdamW, moments: Moments) -> None:
        """Set the optimiser's own."""
        load_moments(adamw, moments)

    def finish(self) -> None:
        """Call the student itself from now on."""
        self._module = None


def load_moments(adamw: torch.optim.AdamW, moments: Moments) -> None:
    """Set an optimiser's state, its groups as they are."""
    groups = adamw.state_dict()["param_groups"]
    adamw.load_state_dict({"state": moments, "param_groups": groups})


def average(world: World, parameters: Iterable[nn.Parameter]) -> None:
    """Average gradients that no wrapper reduces."""
    for parameter in parameters:
        if parameter.grad is not None:
            world.average(parameter.grad)


def trained(adamw: torch.optim.AdamW) -> list[nn.Parameter]:
    """List what an optimiser trains."""
    return [parameter for group in adamw.param_groups for parameter in group["params"]]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Switch dropout off for a while, and gradients."""
    was = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(was)
