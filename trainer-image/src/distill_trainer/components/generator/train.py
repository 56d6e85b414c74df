"""Train: make the student, teach it its teacher's answers, keep its best checkpoint."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import torch
from distill_api.names import Stage
from distill_api.wire import Report, Task

from distill_trainer import fingerprints
from distill_trainer.artifacts import Output
from distill_trainer.components import adapted, trained
from distill_trainer.context import Context
from distill_trainer.sources import fetching
from distill_trainer.students import causal
from distill_trainer.students.causal import Causal
from distill_trainer.teachers import generating as teachers
from distill_trainer.texts import conversation
from distill_trainer.training import gathering, runtime
from distill_trainer.training.checkpoints import Standing
from distill_trainer.training.gathering import Lesson
from distill_trainer.training.generating import GeneratorCourse
from distill_trainer.workspace import Draft

PROJECTIONS = "projections.safetensors"
TEACHING = "teaching.json"

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
    student = _student(context)
    tuner = adapted.adapt(task, student.model)
    course = gathering.gather(
        student,
        prepared.path,
        _lesson(task),
        device=device,
        teacher=None if task.spec.teacher.model is None else lambda: teachers.open_weights(context),
    )
    standing, world = trained.together(context, course, trained.store(draft, task), device)
    if not world.first:
        return trained.one_of(world)
    merged = adapted.merge(
        task,
        course.causal.model,
        lambda: _student(context).model.to(device).eval(),
        lambda model: replace(course, causal=replace(course.causal, model=model)).score(),
    )
    made = replace(course.causal, model=merged.model) if merged else course.causal
    _write(draft.path, course, made, (standing, prepared))
    adapted.keep(tuner, draft.path)
    return draft.commit(
        adapted.tell(_report(context, draft, course, standing), course.student, merged),
        leave_out=(trained.CHECKPOINTS,),
        inputs=prepared.inputs,
    )


def _lesson(task: Task) -> Lesson:
    spec = task.spec
    assert spec.recipe.generator is not None, "the contract ties the component to its recipe"
    return Lesson(
        recipe=spec.recipe.generator,
        training=spec.training,
        sampling=spec.teacher.sampling,
        max_length=spec.student.max_length,
    )


def _student(context: Context) -> Causal:
    """Make the untrained student: a model of its own, or some of the teacher's layers."""
    wanted = context.task.spec.student
    if wanted.model is not None:
        folder = fetching.fetch_model(context, wanted.model).path
        return causal.load(folder, trust=wanted.model.trust_remote_code)
    assert wanted.from_teacher is not None, "the contract asks for one of the two"
    return causal.cut(teachers.open_weights(context), wanted.from_teacher)


def _write(
    folder: Path, course: GeneratorCourse, made: Causal, from_what: tuple[Standing, Output]
) -> None:
    """Write the student, its learning curve, and how its prompts are written down."""
    standing, prepared = from_what
    made.model.to(torch.device("cpu"))
    causal.save(made, folder / trained.STUDENT)
    trained.write_curve(folder, standing)
    told = json.loads((prepared.path / "prepared.json").read_text())
    teaching = {
        "chatTemplate": conversation.template_hash(course.causal.tokenizer),
        "teachersChatTemplate": told["template"],
        "instruction": conversation.INSTRUCTION,
        "sampling": told["sampling"],
        "weights": "float32",
        "precision": course.training.precision.value,
    }
    (folder / trained.STUDENT / TEACHING).write_text(json.dumps(teaching, indent=1) + "\n")
    trained.write_helpers(folder, course.projections, PROJECTIONS)


def _report(context: Context, draft: Draft, course: GeneratorCourse, standing: Standing) -> Report:
    before, score = standing.curve[0]["validation"], standing.best_score or 0.0
    own = {
        "validationMeasure": "log-likelihood, nats a token",
        "chatTemplate": conversation.template_hash(course.causal.tokenizer),
        "masterWeights": "float32",
    }
    found = (
        f"{trained.steps(standing, course.steps)}; log-likelihood of the validation"
        f" answers {before:.3f} nats a token before training, {score:.3f} at step"
        f" {standing.best_step}, which is kept"
    )
    return trained.report(context, draft, standing, found, own)
