"""Train: make the student, teach it from the cached embeddings, keep its best checkpoint."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from distill_api.names import Stage
from distill_api.sources import Prompts
from distill_api.wire import Report, Task
from sentence_transformers import SentenceTransformer

from distill_trainer import fingerprints
from distill_trainer.artifacts import Output
from distill_trainer.components import adapted, trained
from distill_trainer.context import Context
from distill_trainer.distributed.launch import leads
from distill_trainer.sources import fetching
from distill_trainer.students import head, make
from distill_trainer.teachers import opening
from distill_trainer.training import courses, pairs, runtime, validation
from distill_trainer.training.checkpoints import Standing
from distill_trainer.training.courses import EmbeddingCourse, Lesson
from distill_trainer.workspace import Draft

TOKENS = "tokens.npz"
PROJECTIONS = "projections.safetensors"

log = logging.getLogger(__name__)


def run(context: Context) -> Report:
    """Train the student of a task, from its last checkpoint where an attempt left one."""
    task = context.task
    prepared = context.workspace.output(Stage.PREPARE)
    fingerprint = fingerprints.train(task, prepared.fingerprint)
    if done := context.workspace.find(Stage.TRAIN, fingerprint):
        return done.reused()
    draft = context.workspace.draft(Stage.TRAIN, fingerprint)
    device = runtime.settle(task.threads, task.gpus)
    store = trained.store(draft, task)
    student = _student(context, prepared, fresh=not store.steps())
    tuner = adapted.adapt(task, student[0].auto_model)
    course = courses.gather(
        student,
        prepared.path,
        _lesson(task),
        device=device,
        cache=draft.path / TOKENS if leads() else None,
    )
    standing, world = trained.together(context, course, store, device)
    if not world.first:
        return trained.one_of(world)
    merged = adapted.merge(
        task,
        course.student,
        lambda: _student(context, prepared, fresh=False).to(device).eval(),
        lambda model: course.validation.score(replace(course.encoder, student=model)),
    )
    _write(draft.path, course, merged.model if merged else course.student, standing)
    adapted.keep(tuner, draft.path)
    report = _report(context, draft, course, standing)
    return draft.commit(
        adapted.tell(report, course.student, merged),
        leave_out=(trained.CHECKPOINTS, TOKENS),
        inputs=prepared.inputs,
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


def _write(
    folder: Path, course: EmbeddingCourse, student: SentenceTransformer, standing: Standing
) -> None:
    """Write the student, its learning curve, and the projections that its losses used."""
    student.to(torch.device("cpu"))
    make.save(student, folder / trained.STUDENT)
    trained.write_curve(folder, standing)
    trained.write_helpers(folder, course.projections, PROJECTIONS)


def _report(context: Context, draft: Draft, course: EmbeddingCourse, standing: Standing) -> Report:
    before, score = standing.curve[0]["validation"], standing.best_score or 0.0
    own = {"validationMeasure": validation.MEASURE}
    found = (
        f"{trained.steps(standing, course.steps)}; validation nDCG@10 {before:.3f}"
        f" before training, {score:.3f} at step {standing.best_step}, which is kept"
    )
    return trained.report(context, draft, standing, found, own)
