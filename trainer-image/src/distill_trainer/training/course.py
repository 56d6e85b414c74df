"""What the loop needs of a training, whatever the student is: one protocol for all components."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from distill_api.training import Training
from torch import nn

from distill_trainer.distributed.strategy import Strategy


@dataclass(frozen=True, slots=True)
class Learnt:
    """What one step's gradients came from."""

    loss: float
    """Weighted sum of the losses, over the whole batch."""
    parts: dict[str, float]
    """Each loss before its weight."""
    examples: int
    """What the batch held, in the unit of the component's throughput."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """What else the learning curve records."""


def planned(training: Training, examples: int) -> int:
    """Return how many optimiser steps a spec asks for; examples: of one epoch."""
    if training.max_steps is not None:
        return training.max_steps
    return max(math.ceil((training.epochs or 1) * examples / training.batch_size), 1)


def bound(training: Training, per_record: int) -> int | None:
    """Return the rows of one forward pass where microBatchSize bounds them, else None."""
    micro = training.micro_batch_size
    return None if micro is None or micro >= training.batch_size else micro * per_record


class Course(Protocol):
    """A student, what it learns from, and how long."""

    @property
    def training(self) -> Training:
        """The spec's settings of the training."""
        ...

    @property
    def student(self) -> nn.Module:
        """What is trained and kept."""
        ...

    @property
    def helpers(self) -> nn.Module:
        """What is trained beside the student and only serves its losses; may hold nothing."""
        ...

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        ...

    def optimiser(self) -> torch.optim.AdamW:
        """Make the optimiser over all that is trained; its groups keep their peak as `peak`."""
        ...

    def begin(self) -> None:
        """Give what is new its first values; called once, before the first step, after seeding."""
        ...

    def learn(self, step: int) -> Learnt:
        """Add the gradients of a step's batch, counted from 0, to what is trained.

        The batch is a pure function of seed and step, so that a resumed training is the same.
        """
        ...

    def score(self) -> float:
        """Measure the student as it is now on the validation split; higher is better."""
        ...


class Shared(Course, Protocol):
    """A course that several processes can train together."""

    def shared(self, strategy: Strategy) -> Course:
        """Return the course for one of these processes."""
        ...
