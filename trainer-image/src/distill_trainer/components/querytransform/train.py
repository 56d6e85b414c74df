"""Train: make the student, teach it its teacher's transforms, keep its best checkpoint."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from distill_api.names import Reason, Stage
from distill_api.sources import Sampling
from distill_api.wire import Report, Task

from distill_trainer import fingerprints
from distill_trainer.artifacts import Output
from distill_trainer.components import adapted, trained
from distill_trainer.components.querytransform import models
from distill_trainer.context import Context
from distill_trainer.errors import BadInput
from distill_trainer.sources import fetching
from distill_trainer.students import causal, seq2seq
from distill_trainer.students.causal import Causal
from distill_trainer.students.seq2seq import Seq2Seq
from distill_trainer.texts import conversation, querying
from distill_trainer.texts.conversation import Message
from distill_trainer.texts.querying import Query, Wanted
from distill_trainer.training import gathering, loop, runtime, seq2seq_gathering
from distill_trainer.training.checkpoints import Standing
from distill_trainer.training.course import Course
from distill_trainer.workspace import Draft

TEACHING = "teaching.json"


type Student = Causal | Seq2Seq


@dataclass(frozen=True, slots=True)
class Made:
    """A student and the course that it takes."""

    student: Student
    course: Course
    scored: Callable[[Any], float]
    """Validates another student as the course does its own."""


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
    made = _gathered(context, student, prepared.path, device)
    standing = loop.train(made.course, trained.store(draft, task), trained.watch(context))
    merged = adapted.merge(
        task,
        student.model,
        lambda: _student(context).model.to(device).eval(),
        lambda model: made.scored(replace(student, model=model)),
    )
    kept = replace(student, model=merged.model) if merged else student
    _write(draft.path, task, kept, (standing, prepared))
    adapted.keep(tuner, draft.path)
    return draft.commit(
        adapted.tell(_report(context, draft, made, standing), student.model, merged),
        leave_out=(trained.CHECKPOINTS,),
        inputs=prepared.inputs,
    )


def _student(context: Context) -> Student:
    """Make the untrained student."""
    seq2seq_wanted = models.is_seq2seq(context.task)
    return _seq2seq_student(context) if seq2seq_wanted else _causal_student(context)


def _gathered(context: Context, student: Student, prepared: Path, device: torch.device) -> Made:
    if isinstance(student, Seq2Seq):
        return _seq2seq(context, student, prepared, device)
    return _causal(context, student, prepared, device)


def _causal(context: Context, student: Causal, prepared: Path, device: torch.device) -> Made:
    spec = context.task.spec
    assert spec.recipe.query_transform is not None, "the contract ties the component to its recipe"
    lesson = gathering.Lesson(
        recipe=spec.recipe.query_transform,
        training=spec.training,
        # The student is to be fast: it writes what is asked for, without reasoning before it.
        sampling=spec.teacher.sampling.model_copy(update={"chain_of_thought": False}),
        max_length=spec.student.max_length,
        chat=partial(_chat, models.wanted(context.task)),
    )
    teacher = None if spec.teacher.model is None else partial(_causal_teacher, context)
    course = gathering.gather(student, prepared, lesson, device=device, teacher=teacher)
    return Made(student, course, lambda other: replace(course, causal=other).score())


def _chat(wanted: Wanted, row: Mapping[str, Any], sampling: Sampling) -> list[Message]:
    return querying.chat(Query(row["query"], tuple(row["turns"])), wanted, sampling)


def _causal_teacher(context: Context) -> Causal:
    opened = models.open_weights(context)
    if isinstance(opened, Causal):
        return opened
    raise BadInput(
        Reason.BAD_RECIPE,
        "the teacher is an encoder-decoder and the student a causal model: they have no layers and"
        " no distributions in common that could be compared in every step. Learn from the text"
        " (recipe.queryTransform.outputs) with a student.model of its own, or set"
        " student.architecture to Seq2Seq",
    )


def _causal_student(context: Context) -> Causal:
    """Make the untrained student: a model of its own, or some of the teacher's layers."""
    wanted = context.task.spec.student
    if wanted.model is not None:
        folder = fetching.fetch_model(context, wanted.model).path
        return causal.load(folder, trust=wanted.model.trust_remote_code)
    assert wanted.from_teacher is not None, "the contract asks for one of the two"
    return causal.cut(_causal_teacher(context), wanted.from_teacher)


def _seq2seq(context: Context, student: Seq2Seq, prepared: Path, device: torch.device) -> Made:
    spec = context.task.spec
    assert spec.recipe.query_transform is not None, "the contract ties the component to its recipe"
    lesson = seq2seq_gathering.Lesson(
        recipe=spec.recipe.query_transform,
        training=spec.training,
        max_length=spec.student.max_length,
    )
    course = seq2seq_gathering.gather(student, prepared, lesson, device=device)
    return Made(student, course, lambda other: replace(course, seq2seq=other).score())


def _seq2seq_student(context: Context) -> Seq2Seq:
    wanted = context.task.spec.student
    if wanted.model is not None:
        folder = fetching.fetch_model(context, wanted.model).path
        return seq2seq.load(folder, trust=wanted.model.trust_remote_code)
    assert wanted.from_teacher is not None, "the contract asks for one of the two"
    teacher = models.open_weights(context)
    if isinstance(teacher, Seq2Seq):
        return seq2seq.cut(teacher, wanted.from_teacher)
    raise BadInput(
        Reason.BAD_RECIPE,
        "student.fromTeacher with architecture Seq2Seq needs an encoder-decoder as teacher, and"
        " this one is a causal model: name student.model, such as a T5, or set"
        " student.architecture to Causal",
    )


def _write(folder: Path, task: Task, student: Student, from_what: tuple[Standing, Output]) -> None:
    """Write the student, its learning curve, and how its prompts are written down."""
    standing, prepared = from_what
    student.model.to(torch.device("cpu"))
    wanted = models.wanted(task)
    told = json.loads((prepared.path / "prepared.json").read_text())
    teaching = {
        "task": wanted.task.value,
        "expansions": wanted.count,
        "separator": querying.SEPARATOR,
        "sampling": told["sampling"],
        "teachersChatTemplate": told["template"],
        "weights": "float32",
        "precision": task.spec.training.precision.value,
    }
    if isinstance(student, Seq2Seq):
        seq2seq.save(student, folder / trained.STUDENT, most=told["sampling"]["maxTokens"])
        teaching["prefix"] = querying.PREFIXES[wanted.task]
    else:
        causal.save(student, folder / trained.STUDENT)
        teaching["instruction"] = querying.instruction(wanted)
        teaching["chatTemplate"] = conversation.template_hash(student.tokenizer)
    trained.write_curve(folder, standing)
    (folder / trained.STUDENT / TEACHING).write_text(json.dumps(teaching, indent=1) + "\n")


def _report(context: Context, draft: Draft, made: Made, standing: Standing) -> Report:
    before, score = standing.curve[0]["validation"], standing.best_score or 0.0
    own = {
        "validationMeasure": "log-likelihood, nats a token",
        "masterWeights": "float32",
        "architecture": "Seq2Seq" if isinstance(made.student, Seq2Seq) else "Causal",
    }
    found = (
        f"{trained.steps(standing, made.course.steps)}; log-likelihood of the validation"
        f" transforms {before:.3f} nats a token before training, {score:.3f} at step"
        f" {standing.best_step}, which is kept"
    )
    return trained.report(context, draft, standing, found, own)
