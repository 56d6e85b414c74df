"""Train: make the student, teach it to order as its teacher does, keep its best checkpoint."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import torch
from distill_api.names import Reason, Stage
from distill_api.sources import Prompts, StudentArchitecture
from distill_api.wire import Report, Task

from distill_trainer import fingerprints
from distill_trainer.artifacts import Output
from distill_trainer.components import adapted, trained
from distill_trainer.context import Context
from distill_trainer.distributed.launch import leads
from distill_trainer.errors import BadInput
from distill_trainer.sources import fetching
from distill_trainer.students import make, rankers
from distill_trainer.students.rankers import Ranker
from distill_trainer.teachers import opening
from distill_trainer.training import reranking, runtime
from distill_trainer.training.checkpoints import Standing
from distill_trainer.training.reranking import Lesson, RerankerCourse, Setting
from distill_trainer.workspace import Draft

TOKENS = "tokens.npz"
SCALE = "scale.safetensors"

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
    student = _student(context, prepared)
    tuner = adapted.adapt(task, student[0].auto_model, head=True)
    course = reranking.gather(
        student,
        prepared.path,
        _lesson(task),
        Setting(device, draft.path / TOKENS if leads() else None),
    )
    standing, world = trained.together(context, course, trained.store(draft, task), device)
    if not world.first:
        return trained.one_of(world)
    merged = adapted.merge(
        task,
        course.student,
        lambda: _student(context, prepared).to(device).eval(),
        lambda model: replace(course, encoder=replace(course.encoder, student=model)).score(),
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
    """Return what stands before the student's inputs: its own prompts, or the teacher's.

    A cross-encoder reads query and document at once, and its servers put nothing before them.
    """
    own = task.spec.student.prompts
    if rankers.architecture(task.spec.student) is not StudentArchitecture.CROSS_ENCODER:
        return own or task.spec.teacher.prompts
    if own is not None and (own.query or own.document):
        raise BadInput(
            Reason.BAD_RECIPE,
            "student.prompts are not available for a CrossEncoder student, as /rerank puts nothing"
            " before its inputs: remove them",
        )
    return Prompts()


def _lesson(task: Task) -> Lesson:
    recipe = task.spec.recipe.reranker
    assert recipe is not None, "the contract ties component Reranker to recipe.reranker"
    return Lesson(recipe, task.spec.training, prompts(task))


def _student(context: Context, prepared: Output) -> Ranker:
    """Make the untrained student."""
    spec, wanted = context.task.spec, context.task.spec.student
    if wanted.model is not None:
        folder = fetching.fetch_model(context, wanted.model).path
    else:
        folder = opening.weights(context)
    told = json.loads((prepared.path / "prepared.json").read_text())
    length = wanted.max_length or spec.teacher.max_length or told.get("max_length")
    student = rankers.make_ranker(
        wanted, folder, prompts(context.task), max_length=length, seed=spec.training.seed
    )
    log.info("the student has %d weights", make.parameters(student))
    return student


def _write(folder: Path, course: RerankerCourse, student: Ranker, standing: Standing) -> None:
    """Write the student, its learning curve, and the scale between its scores and the teacher's."""
    student.to(torch.device("cpu"))
    make.save(student, folder / trained.STUDENT)
    trained.write_curve(folder, standing)
    trained.write_helpers(folder, course.scale, SCALE)


def _report(context: Context, draft: Draft, course: RerankerCourse, standing: Standing) -> Report:
    before, score = standing.curve[0]["validation"], standing.best_score or 0.0
    own = {
        "validationMeasure": reranking.MEASURE,
        "architecture": rankers.architecture(context.task.spec.student).value,
    }
    last = standing.curve[-1].get("margins")
    if last:
        own |= {f"margin{name.capitalize()}": f"{value:.4g}" for name, value in last.items()}
    found = (
        f"{trained.steps(standing, course.steps)}; validation nDCG@10 {before:.3f}"
        f" before training, {score:.3f} at step {standing.best_step}, which is kept"
    )
    return trained.report(context, draft, standing, found, own)
