"""The course of an embedding student, gathered and checked before the first step."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from distill_api.recipe import EmbeddingRecipe
from distill_api.teacher import Prompts
from distill_api.training import Training
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from distill_trainer.losses.weighted import Loss, embedding_loss
from distill_trainer.training import (
    batches,
    checks,
    encode,
    pairs,
    projections,
    runtime,
    tokens,
    validation,
)
from distill_trainer.training.course import Learnt, bound
from distill_trainer.training.encode import Encoder
from distill_trainer.training.encoder_course import EncoderCourse

FIT_SAMPLE = 2048
"""Texts from which the projections' first values are fitted."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is taught: recipe, training settings and the prompts before the student's inputs."""

    recipe: EmbeddingRecipe
    training: Training
    prompts: Prompts


@dataclass(frozen=True, slots=True)
class EmbeddingCourse(EncoderCourse[Lesson]):
    """An embedding student, what it learns from, and how long; a Course of the loop."""

    teacher: NDArray[np.float32]
    """[texts, teacher width]: cached embeddings, row = text id."""
    validation: validation.Validation
    projections: projections.Projections
    """Empty of knowledge until begin or a checkpoint fills them."""

    @property
    def helpers(self) -> nn.Module:
        """The projections that the losses use."""
        return self.projections

    @property
    def max_rows(self) -> int | None:
        """Texts of one forward pass where microBatchSize bounds them, else None."""
        negatives = self.source.pairs.negatives.shape[1] if self.source.with_negatives else 0
        return bound(self.training, 2 + int(negatives))

    def targets(self, texts: NDArray[np.int64]) -> Tensor:
        """Teacher embeddings of texts: float32 [texts, teacher width]."""
        return torch.from_numpy(np.asarray(self.teacher[texts])).to(self.encoder.device)

    def learn(self, step: int) -> Learnt:
        """Add the gradients of a step's batch; its examples are records and lone documents."""
        batch = self.source.batch(step, self.encoder.device)
        targets, projected = self.targets(batch.texts), self.projections.by_width()
        losses: list[Loss] = []

        def loss_of(embeddings: Tensor) -> Tensor:
            recipe = self.lesson.recipe
            losses.append(embedding_loss(recipe, embeddings, targets, batch.rows, projected))
            return losses[-1].total

        encode.backward(self.encoder, batch.texts, loss_of, self.max_rows)
        parts = {name: float(part) for name, part in losses[0].parts.items()}
        return Learnt(float(losses[0].total.detach()), parts, batch.examples)

    def score(self) -> float:
        """Mean nDCG@10 of the validation's queries."""
        return self.validation.score(self.encoder)

    def begin(self) -> None:
        """Give the projections their first values, from a fixed sample of the training texts."""
        if not len(self.projections):
            return
        train = self.source.pairs
        ids = np.unique(np.concatenate([train.queries, train.documents]))
        generator = np.random.Generator(np.random.PCG64(self.lesson.training.seed))
        chosen = np.sort(generator.permutation(ids)[:FIT_SAMPLE])
        projections.fit(self.projections, self.encoder.evaluate(chosen), self.targets(chosen))


def gather(
    student: SentenceTransformer,
    prepared: Path,
    lesson: Lesson,
    *,
    device: torch.device,
    cache: Path | None = None,
) -> EmbeddingCourse:
    """Make a course of what the prepare stage left in a folder.

    cache: where token ids are kept for an attempt that goes on; made in memory when None.
    Raises BadInput when recipe, data and student do not fit.
    """
    recipe, training = lesson.recipe, lesson.training
    whole = pairs.load(prepared, "train")
    train = checks.taught(recipe, whole)
    teacher = np.load(prepared / "embeddings.npy", mmap_mode="r")
    width = _width(student)
    checks.recipe_fits(recipe, training, train, width)
    checks.teacher_teaches(recipe, teacher, train, seed=training.seed)
    ids = tokens.of_prepared(student, prepared, lesson.prompts, cache)
    kinds = pq.read_table(prepared / "texts.parquet", columns=["kind"])["kind"].to_pylist()
    documents = np.flatnonzero(np.array(kinds) == "document").astype(np.int64)
    to_teacher = bool(recipe.mse or recipe.cosine or recipe.teacher_contrastive)
    runtime.spare(student[0].auto_model, training)
    needed = projections.widths(recipe, width, teacher.shape[1])
    return EmbeddingCourse(
        lesson=lesson,
        encoder=encode.made(Encoder, student.to(device), ids, (training, device)),
        source=batches.Source(
            pairs=train,
            answers=whole.answers(),
            size=training.batch_size,
            seed=training.seed,
            with_lone=to_teacher,
            with_negatives=bool(recipe.contrastive or recipe.margin_mse),
        ),
        teacher=teacher,
        validation=validation.sample(
            pairs.load(prepared, "validation"), documents, seed=training.seed
        ),
        projections=projections.empty(needed, teacher.shape[1]).to(device),
    )


def _width(student: SentenceTransformer) -> int:
    width = student.get_embedding_dimension()
    assert width is not None
    return int(width)
