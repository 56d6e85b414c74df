"""Random numbers of several processes: a pure function of seed, step and process.

One process draws on from where it was, and its checkpoints hold the state. With several, one
state for each would tie a checkpoint to a number of processes.
"""

import random

import numpy as np
import torch

from distill_trainer.distributed.world import World


def settle(world: World, seed: int, step: int) -> None:
    """Seed this process's generators for a step, differently from every other process."""
    if world.size == 1:
        return
    drawn = np.random.SeedSequence([seed, step, world.rank]).generate_state(3)
    torch.manual_seed(int(drawn[0]))
    random.seed(int(drawn[1]))
    np.random.seed(int(drawn[2]))  # noqa: NPY002 - libraries draw from it
