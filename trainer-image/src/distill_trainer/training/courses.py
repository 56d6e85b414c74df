"""Everything that one training needs, gathered and checked before the first step."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from distill_api.recipe import EmbeddingRecipe
from distill_api.sources import Prompts
from distill_api.training import Precision, Training
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch import Tensor

from distill_trainer.training import batches, checks, encode, pairs, projections, tokens, validation
from distill_trainer.training.encode import Encoder

FIT_SAMPLE = 2048
"""Texts from which the projections' first values are fitted."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is taught: recipe, training settings and the prompts before the student's inputs."""

    recipe: EmbeddingRecipe
    training: Training
    prompts: Prompts


@dataclass(frozen=True, slots=True)
class Course:
    """A student, what it learns from, and how long."""

    lesson: Lesson
    encoder: Encoder
    source: batches.Source
    teacher: NDArray[np.float32]
    """[texts, teacher width]: cached embeddings, row = text id."""
    validation: validation.Validation
    projections: projections.Projections
    """Empty of knowledge until fit_projections or a checkpoint fills them."""

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        training = self.lesson.training
        if training.max_steps is not None:
            return training.max_steps
        return max(math.ceil((training.epochs or 1) * len(self.source.pairs) / self.source.size), 1)

    @property
    def max_rows(self) -> int | None:
        """Texts of one forward pass where microBatchSize bounds them, else None."""
        micro, batch = self.lesson.training.micro_batch_size, self.source.size
        if micro is None or micro >= batch:
            return None
        per_record = 2 + (self.source.pairs.negatives.shape[1] if self.source.with_negatives else 0)
        return micro * per_record

    def targets(self, texts: NDArray[np.int64]) -> Tensor:
        """Teacher embeddings of texts: float32 [texts, teacher width]."""
        return torch.from_numpy(np.asarray(self.teacher[texts])).to(self.encoder.device)

    def fit_projections(self) -> None:
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
) -> Course:
    """Make a course of what the prepare stage left in a folder.

    cache: where token ids are kept for an attempt that goes on; made in memory when None.
    Raises BadInput when recipe, data and student do not fit.
    """
    recipe, training = lesson.recipe, lesson.training
    train = pairs.load(prepared, "train")
    teacher = np.load(prepared / "embeddings.npy", mmap_mode="r")
    width = _width(student)
    checks.recipe_fits(recipe, training, train, width)
    checks.teacher_teaches(recipe, teacher, train, seed=training.seed)
    texts = pq.read_table(prepared / "texts.parquet", columns=["text", "kind"]).to_pydict()
    ids = _tokens(student, texts["text"], _prompts(texts["kind"], lesson.prompts), cache)
    documents = np.flatnonzero(np.array(texts["kind"]) == "document").astype(np.int64)
    to_teacher = bool(recipe.mse or recipe.cosine or recipe.teacher_contrastive)
    if training.freeze_embeddings:
        freeze_embeddings(student)
    needed = projections.widths(recipe, width, teacher.shape[1])
    return Course(
        lesson=lesson,
        encoder=_encoder(student.to(device), ids, device, training.precision),
        source=batches.Source(
            pairs=train,
            answers=train.answers(),
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


def _encoder(
    student: SentenceTransformer, ids: tokens.Tokens, device: torch.device, precision: Precision
) -> Encoder:
    on_cpu = device.type == "cpu"
    return Encoder(
        student,
        ids,
        device,
        bfloat16=precision is Precision.BFLOAT16,
        max_tokens=encode.MAX_TOKENS if on_cpu else encode.MAX_TOKENS_ACCELERATOR,
    )


def freeze_embeddings(student: SentenceTransformer) -> None:
    """Leave the word embeddings as they are."""
    student[0].auto_model.get_input_embeddings().weight.requires_grad_(False)


def _width(student: SentenceTransformer) -> int:
    width = student.get_embedding_dimension()
    assert width is not None
    return int(width)


def _prompts(kinds: list[str], prompts: Prompts) -> list[str]:
    return [prompts.query if kind == "query" else prompts.document for kind in kinds]


def _tokens(
    student: SentenceTransformer, texts: list[str], prompts: list[str], cache: Path | None
) -> tokens.Tokens:
    """Token ids of all texts, from the cache where an earlier attempt has left them."""
    if cache is not None and cache.exists():
        return tokens.load(cache)
    made = tokens.tokenise(student, texts, prompts)
    if cache is not None:
        tokens.save(made, cache)
    return made
