"""DeepSpeed's ZeRO: pieces of the optimiser's state (1), of the gradients (2), of the weights (3).

The optimiser stays PyTorch's AdamW, so that nothing is compiled. Its groups in the loop's hands
keep their numbers and peaks; what DeepSpeed trains is a copy of the student with an AdamW of its
own, whose learning rates follow. Helpers are small and stay whole, under the loop's.
"""

import copy
import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

from distill_trainer.distributed.sharded import equalise, zip_parameters
from distill_trainer.distributed.strategy import Called, Moments, average, load_moments, trained
from distill_trainer.distributed.world import World

STATES: Final = ("exp_avg", "exp_avg_sq")
"""What AdamW keeps of each weight."""
PARTITIONED: Final = 3
"""The stage that shares the weights too."""
LARGEST_BUCKET: Final = 500_000_000
"""Gradients that are reduced together at most, 2 GB of them; the library's own number."""
EPSILON: Final = 1e-6
"""What PyTorch and DeepSpeed both add to a norm before they divide by it."""


class Zero:
    """Shares a copy of the student by DeepSpeed's engine."""

    def __init__(self, world: World, stage: int) -> None:
        self.world = world
        self.stage = stage
        self.fleeting = stage == PARTITIONED
        self._engine: Any = None
        self._copies: dict[nn.Parameter, nn.Parameter] = {}
        self._helpers: tuple[nn.Parameter, ...] = ()
        self._adamw: torch.optim.AdamW | None = None
        self._places: list[int] = []

    def wrap(self, student: nn.Module, helpers: nn.Module, adamw: torch.optim.AdamW) -> nn.Module:
        """Hand a copy to the engine; the student itself is what the best weights go into."""
        deepspeed = library(self.world.device)
        self._helpers = tuple(helpers.parameters())
        equalise(self.world, student, helpers)
        module = copy.deepcopy(student)
        self._copies = dict(zip_parameters(student, module))
        groups = {
            place: [self._copies[p] for p in group["params"] if p in self._copies]
            for place, group in enumerate(adamw.param_groups)
        }
        self._places = [place for place, copies in groups.items() if copies]
        self._adamw = torch.optim.AdamW(
            [{**adamw.param_groups[place], "params": groups[place]} for place in self._places],
            fused=True,
        )
        self._engine, *_ = deepspeed.initialize(
            model=Called(module),
            optimizer=self._adamw,
            config=settings(self.stage, sum(p.numel() for p in trained(self._adamw))),
            dist_init_required=False,
        )
        self._begin_moments(self._adamw)
        return module

    def taught(self, student: nn.Module) -> nn.Module:
        """Return the copy."""
        return student if self._engine is None else self._engine.module.student

    def run[T](self, student: nn.Module, forward: Callable[[nn.Module], T]) -> T:
        """Call forward by the engine, whose hooks gather weights layer by layer (3)."""
        if self._engine is None:
            return forward(student)
        # In a list: hooks look for tensors in what comes out, and know no other types.
        (found,) = self._engine(lambda taught: [forward(taught)])
        return found  # type: ignore[no-any-return]

    @contextmanager
    def part(self, *, last: bool) -> Iterator[None]:
        """Let the engine add up the gradients until the last pass."""
        if self._engine is not None:
            self._engine.set_gradient_accumulation_boundary(is_boundary=last)
        yield

    def backward(self, output: Tensor, gradient: Tensor | None = None) -> None:
        """Add the gradients of what led to an output; the engine asks for a scalar."""
        scalar = output if gradient is None else (output * gradient).sum()
        if self._engine is None:
            torch.autograd.backward(scalar)
        else:
            self._engine.backward(scalar)

    def clip(self, adamw: torch.optim.AdamW, max_norm: float) -> float:
        """Clip by the norm over all pieces and the helpers."""
        average(self.world, self._helpers)
        whole = [p for p in trained(adamw) if p in set(self._helpers)]
        squares = [_norm(self._engine.optimizer) ** 2]
        squares.append(float(nn.utils.get_total_norm(_gradients(whole))) ** 2)
        total = math.sqrt(sum(squares))
        nn.utils.clip_grads_with_norm_(whole, max_norm, torch.tensor(total))
        # The engine knows its own norm only: ask for the limit at which it divides as we do.
        own = math.sqrt(squares[0]) + EPSILON
        self._engine.optimizer.clip_grad = (
            max_norm * own / (total + EPSILON) if total > max_norm else 0.0
        )
        return total

    def step(self, adamw: torch.optim.AdamW) -> None:
        """Do both optimisers' step: the engine's, and the loop's on the helpers."""
        assert self._adamw is not None
        for own, place in zip(self._adamw.param_groups, self._places, strict=True):
            own["lr"] = adamw.param_groups[place]["lr"]
        self._engine.step()
        adamw.step()

    def whole(self, tensor: Tensor) -> Tensor:
        """Gather a weight."""
        if not hasattr(tensor, "ds_id"):
            return tensor
        from deepspeed.utils import safe_get_full_fp32_param

        found: Tensor = safe_get_full_fp32_param(tensor)
        return found

    def gradient(self, parameter: nn.Parameter) -> Tensor | None:
        """Gather a gradient."""
        from deepspeed.utils import safe_get_full_grad

        if parameter not in self._copies:
            return parameter.grad
        found: Tensor = safe_get_full_grad(self._copies[parameter])
        return found

    def moments(self, adamw: torch.optim.AdamW) -> Moments:
        """Gather the optimiser's state, which lies in flat pieces."""
        from deepspeed.utils import safe_get_full_optimizer_state

        assert self._adamw is not None
        # All weights are trained in every step, and so one count serves them all.
        step = next(iter(self._adamw.state.values()))["step"]
        found = dict(adamw.state_dict()["state"])
        for number, parameter in enumerate(trained(adamw)):
            own = self._copies.get(parameter)
            if own is not None:
                found[number] = {"step": step}
                for name in STATES:
                    found[number][name] = safe_get_full_optimizer_state(own, name)
        return found

    def set_moments(self, adamw: torch.optim.AdamW, moments: Moments) -> None:
        """Keep this process's piece of the state."""
        from deepspeed.utils import safe_set_full_optimizer_state

        assert self._adamw is not None
        parameters = trained(adamw)
        of_helpers = {n: of for n, of in moments.items() if parameters[n] not in self._copies}
        load_moments(adamw, of_helpers)
        others = {n: of for n, of in moments.items() if n not in of_helpers}
        for state in self._adamw.state.values():
            state["step"].copy_(next(iter(others.values()))["step"])
        for number, of in others.items():
            for name in STATES:
                value = of[name].to(self.world.device)
                safe_set_full_optimizer_state(self._copies[parameters[number]], value, name)

    def _begin_moments(self, adamw: torch.optim.AdamW) -> None:
        """Make the state that AdamW would make in its first step, for the pieces to link to it.

        The engine links all groups after the first one's step, when the others' are not there.
        """
        optimizer = self._engine.optimizer
        for flat in _flat(optimizer):
            adamw.state[flat] = {name: torch.zeros_like(flat) for name in STATES}
            adamw.state[flat]["step"] = torch.zeros((), device=self.world.device)
        if self.stage != PARTITIONED:  # which finds its pieces by itself
            optimizer._lazy_init_hp_params_optimizer_state()  # noqa: SLF001 - as after its step

    def finish(self) -> None:
        """Call the student itself from now on."""
        if self._engine is not None:
            self._engine.destroy()
        self._engine, self._adamw, self._copies = None, None, {}


def library(device: torch.device) -> Any:
    """Import DeepSpeed so that it looks for no compiler and tells no more than warnings."""
    os.environ.setdefault("DS_BUILD_OPS", "0")
    if device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed

    # A collective over shared memory, which it would compile: gloo does without.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    return deepspeed


def settings(stage: int, weights: int) -> dict[str, Any]:
    """Return the engine's configuration: float32, the loop accumulates, clips and logs.

    weights: how many are trained. The engine makes a buffer for gradients that are reduced
    together, and PyTorch fills it as long as it is to be deterministic: no larger than needed.
    """
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "steps_per_print": 1 << 30,
        "zero_optimization": {"stage": stage, "reduce_bucket_size": min(weights, LARGEST_BUCKET)},
    }


def _norm(optimizer: Any) -> float:
    """Return the norm over all pieces; what is not finite is NaN."""
    if hasattr(optimizer, "scaled_global_norm"):
        found = float(optimizer.scaled_global_norm())
    else:
        groups = torch.stack([torch.as_tensor(one) for one in optimizer._get_norm_groups()])  # noqa: SLF001 - stage 3 tells it only in its step
        found = -1.0 if bool((groups < 0).any()) else float(groups.norm())
    return found if found >= 0 else math.nan


def _flat(optimizer: Any) -> list[Tensor]:
    """Return the flat pieces that this process's AdamW trains."""
    names = ("single_partition_of_fp32_groups", "fp32_partitioned_groups_flat")
    return next(getattr(optimizer, name) for name in names if hasattr(optimizer, name))


def _gradients(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]
