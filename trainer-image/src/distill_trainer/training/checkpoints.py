"""Everything a step depends on, written so that a training can be killed at any moment.

A checkpoint is a folder: `state.safetensors` (student, projections, optimiser, random states),
`state.json` (step, best score, curve) and, last, `COMPLETE`. A folder without it does not exist.
Nothing is pickled. Frozen weights are not in it: they are made anew from what they came from.
"""

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from distill_trainer.distributed.strategy import Alone, Moments, Strategy
from distill_trainer.distributed.world import ALONE, World

COMPLETE = "COMPLETE"
FORMAT = 1
_DTYPES = {
    str(dtype): dtype
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8)
}


@dataclass(slots=True)
class Standing:
    """Where the training stands, apart from weights; changes from step to step."""

    step: int = 0
    """Optimiser steps done."""
    best_step: int = 0
    """Step of the best validation so far; 0 before the first."""
    best_score: float | None = None
    """Its score; None before the first."""
    without_improvement: int = 0
    """Validations since then."""
    checkpoints: int = 0
    """Checkpoints written so far."""
    stopped_early: bool = False
    """Early stopping has ended the training."""
    curve: list[dict[str, Any]] = field(default_factory=list)
    """One entry for each recorded step."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What changes while training."""

    student: nn.Module
    projections: nn.Module
    adamw: torch.optim.AdamW
    strategy: Strategy = field(default_factory=Alone)
    """How several processes share them."""


@dataclass(frozen=True, slots=True)
class Store:
    """The checkpoints of one training."""

    folder: Path
    keep: int = 2
    """Checkpoints kept beside the best one."""
    kept: Callable[[str], None] = lambda _: None
    """Told each new checkpoint's name, to carry it to where it survives the pod."""
    dropped: Callable[[str], None] = lambda _: None
    """Told the names that are no longer needed, to remove them elsewhere too."""

    def steps(self) -> list[int]:
        """List the steps of the complete checkpoints, rising."""
        found = (path.parent for path in self.folder.glob(f"step-*/{COMPLETE}"))
        return sorted(int(path.name.removeprefix("step-")) for path in found)

    def path(self, step: int) -> Path:
        """Folder of a step's checkpoint."""
        return self.folder / name(step)

    def save(self, parts: Parts, standing: Standing) -> None:
        """Write a checkpoint of the present step, then forget those that are not needed.

        Of several processes the first one writes, and all of them have to call.
        """
        standing.checkpoints += 1
        tensors = _tensors(parts)
        if parts.strategy.world.first:
            self._write(tensors, standing)

    def _write(self, tensors: dict[str, Tensor], standing: Standing) -> None:
        target = self.path(standing.step)
        _remove(target)
        target.mkdir(parents=True)
        save_file(tensors, target / "state.safetensors")
        told = {"format": FORMAT, "standing": asdict(standing), "random": _random_states()}
        (target / "state.json").write_text(json.dumps(told))
        for path in (target / "state.safetensors", target / "state.json", target):
            _sync(path)
        (target / COMPLETE).touch()
        _sync(target)
        self.kept(target.name)
        self._forget(standing)

    def read(self, step: int, world: World = ALONE) -> "Kept":
        """Read a checkpoint; the first process alone may have it, and all have to call."""
        told = (self.path(step) / "state.json").read_text() if world.first else ""
        return Kept(self._read(step, world), json.loads(world.told(told)))

    def restore_student(self, student: nn.Module, step: int, world: World = ALONE) -> None:
        """Set only the student's weights to those of a checkpoint."""
        _load(student, _below(self._read(step, world), "student"))

    def _read(self, step: int, world: World) -> dict[str, Tensor]:
        """Read a checkpoint's tensors in the first process, and tell them to the others."""
        found = load_file(self.path(step) / "state.safetensors") if world.first else {}
        if world.size == 1:
            return found
        shapes = {name: (list(t.shape), str(t.dtype)) for name, t in found.items()}
        told = world.told(shapes)
        return {
            name: world.copied(found.get(name, torch.empty(shape, dtype=_DTYPES[dtype])))
            for name, (shape, dtype) in told.items()
        }

    def _forget(self, standing: Standing) -> None:
        """Remove what is no longer needed, and what interrupted attempts left half written."""
        complete = self.steps()
        others = [step for step in complete if step != standing.best_step]
        wanted = {*others[-self.keep :], standing.best_step}
        found = {int(path.name.removeprefix("step-")) for path in self.folder.glob("step-*")}
        for step in sorted(found - wanted):
            # The marker first: what is half removed must not look complete.
            self.dropped(f"{name(step)}/{COMPLETE}")
            self.dropped(name(step))
            _remove(self.path(step))


@dataclass(frozen=True, slots=True)
class Kept:
    """What a checkpoint holds."""

    tensors: dict[str, Tensor]
    told: dict[str, Any]

    def set_weights(self, student: nn.Module, projections: nn.Module) -> None:
        """Set all weights, before a strategy wraps or copies them."""
        _load(student, _below(self.tensors, "student"))
        _load(projections, _below(self.tensors, "projections"))

    def set_rest(self, parts: Parts) -> Standing:
        """Set the optimiser's state and the random states; return where the training stood."""
        moments: Moments = {}
        for key, value in _below(self.tensors, "adamw").items():
            number, _, what = key.partition(".")
            moments.setdefault(int(number), {})[what] = value
        parts.strategy.set_moments(parts.adamw, moments)
        _restore_random(self.tensors, self.told["random"])
        return Standing(**self.told["standing"])


def name(step: int) -> str:
    """Name of a checkpoint's folder."""
    return f"step-{step:08d}"


@torch.no_grad()
def _tensors(parts: Parts) -> dict[str, Tensor]:
    """All tensors under names; optimiser state by the number of its parameter."""
    strategy = parts.strategy
    tensors = {"random.torch": torch.get_rng_state()}
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    for part, module in (("student", parts.student), ("projections", parts.projections)):
        changing = _changing(module).items()
        tensors |= {f"{part}.{key}": strategy.whole(value) for key, value in changing}
    for number, state in strategy.moments(parts.adamw).items():
        tensors |= {f"adamw.{number}.{key}": value for key, value in state.items()}
    # safetensors refuses tensors that share memory (tied weights); a copy of each is enough.
    return {key: value.detach().clone().contiguous() for key, value in tensors.items()}


def _changing(module: nn.Module) -> dict[str, Tensor]:
    """State of a module without its frozen weights and what belongs to them (scales of 4 bits).

    With the parameters themselves, as a strategy knows its pieces by them.
    """
    named = module.named_parameters(remove_duplicate=False)
    frozen = tuple(name for name, parameter in named if not parameter.requires_grad)
    return {
        key: value
        for key, value in module.state_dict(keep_vars=True).items()
        if key not in frozen and not key.startswith(tuple(f"{name}." for name in frozen))
    }


def _load(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Set what a checkpoint holds; it must be exactly what changes while this module is trained."""
    wanted = _changing(module).keys()
    if wanted != tensors.keys():
        different = sorted(wanted ^ tensors.keys())
        raise RuntimeError(
            f"the checkpoint is of another student: {len(different)} weights are in only one of"
            f" the two, first {different[0]}"
        )
    module.load_state_dict(tensors, strict=False)


def _below(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    prefix = f"{part}."
    return {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }


def _random_states() -> dict[str, Any]:
    """Random states of Python and NumPy as JSON; PyTorch's is a tensor."""
    algorithm, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002 - libraries draw from it
    return {
        "python": random.getstate(),
        "numpy": [algorithm, np.asarray(keys).tolist(), position, has_gauss, gauss],
    }


def _restore_random(tensors: dict[str, Tensor], states: dict[str, Any]) -> None:
    torch.set_rng_state(tensors["random.torch"])
    if "random.cuda" in tensors and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.set_rng_state(tensors["random.cuda"])
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(tuple(states["numpy"]))  # noqa: NPY002 - libraries draw from it


def _remove(path: Path) -> None:
    """Remove a checkpoint, its marker first."""
    (path / COMPLETE).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def _sync(path: Path) -> None:
    """Have the file system write a file or a folder's entries before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
