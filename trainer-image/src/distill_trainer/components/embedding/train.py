"""Train: make the student, teach it from the cached embeddings, keep its best checkpoint."""

import json
import logging
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from distill_api.teacher import Prompts
from distill_api.wire import Report, Task
from sentence_transformers import SentenceTransformer

from distill_trainer.artifacts import Output
from distill_trainer.components import adapted, aware, trained
from distill_trainer.components.trained import Opened, Work
from distill_trainer.context import Context
from distill_trainer.sources import fetching
from distill_trainer.students import head, make
from distill_trainer.teachers import opening
from distill_trainer.training import courses, pairs, validation
from distill_trainer.training.courses import Lesson

log = logging.getLogger(__name__)


def run(context: Context) -> Report:
    """Train the student of a task, from its last checkpoint where an attempt left one."""
    return trained.run(context, partial(_work, context))


def _work(context: Context, opened: Opened) -> Work[SentenceTransformer]:
    """Make the untrained student and what it is taught."""
    task, prepared = context.task, opened.prepared
    student = _student(context, prepared, fresh=not opened.store.steps())
    tuner = adapted.adapt(task, student[0].auto_model)
    rounded = aware.prepare_encoder(task, student)
    course = courses.gather(
        student, prepared.path, _lesson(task), device=opened.device, cache=opened.tokens
    )
    return Work(
        course=course,
        student=student,
        tuner=tuner,
        fresh=lambda: _student(context, prepared, fresh=False),
        score=course.score_of,
        save=partial(aware.save_encoder, task, prompts(task)),
        facts=lambda _: {"validationMeasure": validation.MEASURE, **rounded},
        measure="validation nDCG@10",
    )


def prompts(task: Task) -> Prompts:
    """Return what stands before the student's inputs: its own prompts, or the teacher's."""
    return task.spec.student.prompts or task.spec.teacher.prompts


def _lesson(task: Task) -> Lesson:
    recipe = task.spec.recipe.embedding
    assert recipe is not None, "the contract ties component Embedding to recipe.embedding"
    return Lesson(recipe, task.spec.training, prompts(task))


def _student(context: Context, prepared: Output, *, fresh: bool) -> SentenceTransformer:
    """Make the untrained student; fit its new layer unless a checkpoint will overwrite it."""
    spec, seed = context.task.spec, context.task.spec.training.seed
    wanted = spec.student
    if wanted.model is not None:
        folder = fetching.fetch_model(context, wanted.model).path
    else:
        folder = opening.weights(context)
    told = json.loads((prepared.path / "prepared.json").read_text())
    length = wanted.max_length or spec.teacher.max_length or told.get("max_length")
    student = make.make(wanted, folder, prompts(context.task), max_length=length, seed=seed)
    if wanted.embedding_dimension is not None and fresh:
        _fit_head(context.task, student, prepared.path)
    log.info("the student: %s", dict(make.sizes(student)))
    return student


def _fit_head(task: Task, student: SentenceTransformer, prepared: Path) -> None:
    """Fit the student's new linear layer to a fixed sample of the training texts."""
    lesson, seed = _lesson(task), task.spec.training.seed
    train = pairs.load(prepared, "train")
    ids = np.unique(np.concatenate([train.queries, train.documents]))
    chosen = np.sort(np.random.default_rng([seed, len(ids)]).permutation(ids)[: courses.FIT_SAMPLE])
    table = pq.read_table(prepared / "texts.parquet", columns=["text", "kind"]).take(chosen)
    sample = [
        (lesson.prompts.query if kind == "query" else lesson.prompts.document) + text
        for text, kind in zip(*(table[name].to_pylist() for name in ("text", "kind")), strict=True)
    ]
    teacher = np.load(prepared / "embeddings.npy", mmap_mode="r")[chosen]
    # With Matryoshka every width has a projection of its own, and the strongest come first.
    if not head.fit(student, sample, teacher, turned=lesson.recipe.matryoshka is not None):
        log.info("the teacher is narrower than the student: its new layer starts at random")
