"""What the courses of all components are made of: prepared lists, and folders of tiny teachers."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tiny_models
import tiny_rankers
import torch
from distill_trainer.preparing import lists


@dataclass(frozen=True, slots=True)
class Given:
    """What every process of a training makes its courses of."""

    prepared: Path
    teacher: Path
    ranker: Path
    device: torch.device


def write(root: Path, world: tiny_models.World, device: torch.device) -> Given:
    """Write below a folder what courses on a device are made of; its labels are those of world."""
    given = Given(root / "lists", root / "teacher", root / "ranker", device)
    world.teacher.save(str(given.teacher))
    tiny_rankers.teacher().save(str(given.ranker))
    shutil.copytree(world.prepared, given.prepared)
    negatives = np.load(given.prepared / "negatives.npy")
    shape = (len(negatives), 1 + negatives.shape[1])
    scores = 8 * np.random.default_rng(5).standard_normal(shape, dtype=np.float32)
    scores[:, 1:][negatives < 0] = np.nan
    np.save(given.prepared / lists.SCORES, scores)
    return given
