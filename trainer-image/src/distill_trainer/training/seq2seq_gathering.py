"""Makes an encoder-decoder student's course; what cannot work is refused before the first step."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from distill_api.names import Reason
from distill_api.recipe import QueryTransformRecipe
from distill_api.training import Training

from distill_trainer.errors import BadInput
from distill_trainer.students import seq2seq
from distill_trainer.students.seq2seq import Seq2Seq
from distill_trainer.texts import conversation, querying
from distill_trainer.texts.querying import Query
from distill_trainer.training import runtime, sequences
from distill_trainer.training.gathering import LEAST
from distill_trainer.training.seq2seq import Seq2SeqCourse
from distill_trainer.training.sequences import Taught

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is taught."""

    recipe: QueryTransformRecipe
    training: Training
    max_length: int | None = None
    """Tokens that are read, and tokens that are written; the model's own limit where None."""


def gather(
    student: Seq2Seq, prepared: Path, lesson: Lesson, *, device: torch.device
) -> Seq2SeqCourse:
    """Make a course of what the prepare stage left in a folder.

    Raises BadInput when recipe, tokenizers and data do not fit.
    """
    told = json.loads((prepared / "prepared.json").read_text())
    same = _same_tokens(student, told)
    if lesson.recipe.logits and not same:
        raise _other_tokens(student, told)
    longest = min((n for n in (lesson.max_length, student.positions) if n), default=None)
    found = {
        split: _load(prepared, split, lesson.recipe, (student, same))
        for split in ("train", "validation")
    }
    train = _fitting(found["train"], longest, "train")
    if lesson.recipe.logits:
        train = _cached(train)
    runtime.spare(student.model, lesson.training)
    student.model.to(device)
    return Seq2SeqCourse(
        recipe=lesson.recipe,
        training=lesson.training,
        writer=student,
        examples=train,
        validation=_fitting(found["validation"], longest, "validation"),
        device=device,
        vocabulary=student.known,
    )


def read(student: Seq2Seq, prepared: Path, lesson: Lesson, split: str) -> list[Taught]:
    """Read what a split teaches: what is read, and what is to be written."""
    told = json.loads((prepared / "prepared.json").read_text())
    longest = min((n for n in (lesson.max_length, student.positions) if n), default=None)
    found = _load(prepared, split, lesson.recipe, (student, _same_tokens(student, told)))
    return _fitting(found, longest, split)


def _same_tokens(student: Seq2Seq, told: Mapping[str, Any]) -> bool:
    """Compare which id stands for which token; sizes of the padded heads say nothing."""
    known = told.get("tokenizer")
    return known is not None and known["hash"] == conversation.vocabulary_hash(student.tokenizer)


def _other_tokens(student: Seq2Seq, told: Mapping[str, Any]) -> BadInput:
    known = told.get("tokenizer")
    size = "which nobody knows" if known is None else f"which has {known['size']} tokens"
    return BadInput(
        Reason.BAD_RECIPE,
        "recipe.queryTransform.logits compares token by token, and the teacher's tokenizer,"
        f" {size}, is another one than the student's with {len(student.tokenizer)}: take one with"
        " the teacher's tokenizer, or use recipe.queryTransform.outputs alone, which learns from"
        " the text",
    )


def _load(
    prepared: Path, split: str, recipe: QueryTransformRecipe, of: tuple[Seq2Seq, bool]
) -> list[Taught]:
    """Read what a split teaches: a query's source, and the transforms that are to be written."""
    table = pq.read_table(prepared / sequences.RECORDS, filters=[("split", "=", split)])
    return [_taught(row, recipe, *of) for row in table.to_pylist()]


def _taught(
    row: Mapping[str, Any],
    recipe: QueryTransformRecipe,
    student: Seq2Seq,
    same: bool,  # noqa: FBT001 - as it is called
) -> Taught:
    text = querying.source(Query(row["query"], tuple(row["turns"])), recipe.task)
    source = np.array(seq2seq.source_ids(student.tokenizer, text), dtype=np.int64)
    if same and row["token_ids"] and row["token_ids"][-1] in student.ends:
        target = np.array(row["token_ids"], dtype=np.int64)
        return Taught(source, target, sequences.distributions(row))
    written = seq2seq.target_ids(student.tokenizer, row["answer"])
    return Taught(source, np.array(written, dtype=np.int64))


def _fitting(found: list[Taught], longest: int | None, split: str) -> list[Taught]:
    """Leave out what is longer than the student can read or write; nothing is cut."""
    kept = [
        one for one in found if longest is None or max(len(one.prompt), len(one.target)) <= longest
    ]
    if len(kept) < len(found):
        log.warning("%d %s texts are longer than %s", len(found) - len(kept), split, longest)
    if len(kept) < (LEAST if split == "train" else 1):
        raise BadInput(
            Reason.BAD_DATA,
            f"{len(kept)} of {len(found)} {split} queries and their transforms have at most"
            f" {longest} tokens; at least {LEAST} are needed. Raise student.maxLength, or shorten"
            " the turns before the queries",
        )
    return kept


def _cached(train: list[Taught]) -> list[Taught]:
    """Leave out what was not kept as the teacher wrote it, and has no distributions therefore."""
    kept = [one for one in train if one.cached is not None]
    if len(kept) < LEAST:
        raise BadInput(
            Reason.BAD_RECIPE,
            f"recipe.queryTransform.logits learns from cached distributions, and {len(kept)} of"
            f" {len(train)} answers have some: set teacher.sampling.topLogprobs; where it is set"
            " the teacher does not keep to the form that it is asked for, so use"
            " recipe.queryTransform.outputs, which learns from the text",
        )
    if len(kept) < len(train):
        log.warning("%d answers have no cached distributions", len(train) - len(kept))
    return kept
