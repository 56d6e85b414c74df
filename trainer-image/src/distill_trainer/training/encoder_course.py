"""The course of a student that is run as an encoder: what embeddings and rerankers have alike."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from distill_api.training import Training
from torch import nn

from distill_trainer.distributed.strategy import Strategy
from distill_trainer.training import batches, optimiser
from distill_trainer.training.course import planned
from distill_trainer.training.encode import Encoder


class Lesson(Protocol):
    """What is taught."""

    @property
    def training(self) -> Training:
        """The spec's settings of the training."""
        ...


@dataclass(frozen=True, slots=True)
class EncoderCourse[L: Lesson](ABC):
    """A student behind an encoder, what it learns from, and how long; a Course of the loop."""

    lesson: L
    encoder: Encoder
    source: batches.Source

    @property
    @abstractmethod
    def helpers(self) -> nn.Module:
        """What is trained beside the student and only serves its losses."""

    @abstractmethod
    def score(self) -> float:
        """Measure the student as it is now on the validation split."""

    @property
    def training(self) -> Training:
        """The spec's settings of the training."""
        return self.lesson.training

    @property
    def student(self) -> nn.Module:
        """What is trained and kept."""
        student: nn.Module = self.encoder.student
        return student

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return planned(self.training, len(self.source.pairs))

    def shared(self, strategy: Strategy) -> Self:
        """Return the course for one of several processes that train the student together."""
        return replace(self, encoder=replace(self.encoder, strategy=strategy))

    def score_of(self, student: nn.Module) -> float:
        """Validate another student, such as a merged one, as the course does its own."""
        return replace(self, encoder=replace(self.encoder, student=student)).score()

    def optimiser(self) -> torch.optim.AdamW:
        """Make AdamW; what follows the encoder is new, and learns at the helpers' rate."""
        return optimiser.of_student(self.student, self.helpers, self.training.optimizer)
