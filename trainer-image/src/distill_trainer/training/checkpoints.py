"""Everything a step depends on, written so that a training can be killed at any moment.

A checkpoint is a folder: `state.safetensors` (student, projections, optimiser, random states),
`state.json` (step, best score, curve) and, last, `COMPLETE`. A folder without it does not exist.
Nothing is pickled.
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

COMPLETE = "COMPLETE"
FORMAT = 1


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
        """Write a checkpoint of the present step, then forget those that are not needed."""
        standing.checkpoints += 1
        target = self.path(standing.step)
        _remove(target)
        target.mkdir(parents=True)
        save_file(_tensors(parts), target / "state.safetensors")
        told = {"format": FORMAT, "standing": asdict(standing), "random": _random_states()}
        (target / "state.json").write_text(json.dumps(told))
        for path in (target / "state.safetensors", target / "state.json", target):
            _sync(path)
        (target / COMPLETE).touch()
        _sync(target)
        self.kept(target.name)
        self._forget(standing)

    def restore(self, parts: Parts, step: int) -> Standing:
        """Set weights, optimiser and random states to those of a checkpoint."""
        source = self.path(step)
        told = json.loads((source / "state.json").read_text())
        tensors = load_file(source / "state.safetensors")
        _restore_tensors(parts, tensors)
        _restore_random(tensors, told["random"])
        return Standing(**told["standing"])

    def student_weights(self, step: int) -> dict[str, Tensor]:
        """Only the student's weights of a checkpoint, by name."""
        return _below(load_file(self.path(step) / "state.safetensors"), "student")

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


def name(step: int) -> str:
    """Name of a checkpoint's folder."""
    return f"step-{step:08d}"


def _tensors(parts: Parts) -> dict[str, Tensor]:
    """All tensors under names; optimiser state by the number of its parameter."""
    tensors = {"random.torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    for part, module in (("student", parts.student), ("projections", parts.projections)):
        tensors |= {f"{part}.{key}": value for key, value in module.state_dict().items()}
    for number, state in parts.adamw.state_dict()["state"].items():
        tensors |= {f"adamw.{number}.{key}": value for key, value in state.items()}
    # safetensors refuses tensors that share memory (tied weights); a copy of each is enough.
    return {key: value.detach().clone().contiguous() for key, value in tensors.items()}


def _restore_tensors(parts: Parts, tensors: dict[str, Tensor]) -> None:
    parts.student.load_state_dict(_below(tensors, "student"))
    parts.projections.load_state_dict(_below(tensors, "projections"))
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in _below(tensors, "adamw").items():
        number, _, what = key.partition(".")
        state.setdefault(int(number), {})[what] = value
    groups = parts.adamw.state_dict()["param_groups"]
    parts.adamw.load_state_dict({"state": state, "param_groups": groups})


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
    if "random.cuda" in tensors and torch.cuda.is_available():
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
