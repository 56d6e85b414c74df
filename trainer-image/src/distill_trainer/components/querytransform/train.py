"""Train: make the student, teach it its teacher's transforms, keep its best checkpoint."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from distill_api.names import Reason
from distill_api.recipe import QueryTransformRecipe
from distill_api.student import FromTeacher
from distill_api.teacher import Sampling
from distill_api.wire import Report, Task
from transformers import PreTrainedModel

from distill_trainer.artifacts import Output
from distill_trainer.components import adapted, aware, trained, untaught
from distill_trainer.components.querytransform import models
from distill_trainer.components.trained import Opened, Work
from distill_trainer.context import Context
from distill_trainer.errors import BadInput
from distill_trainer.students import causal, chat_ids, samples, seq2seq
from distill_trainer.students.causal import Causal
from distill_trainer.students.seq2seq import Seq2Seq
from distill_trainer.texts import conversation, querying
from distill_trainer.texts.conversation import Message
from distill_trainer.texts.querying import Query, Wanted
from distill_trainer.training import gathering, seq2seq_gathering
from distill_trainer.training.generating import GeneratorCourse
from distill_trainer.training.seq2seq import Seq2SeqCourse

type Student = Causal | Seq2Seq
type Course = GeneratorCourse | Seq2SeqCourse


def run(context: Context) -> Report:
    """Train the student of a task, from its last checkpoint where an attempt left one."""
    return trained.run(context, partial(_work, context))


def _work(context: Context, opened: Opened) -> Work[PreTrainedModel]:
    """Make the untrained student and what it is taught."""
    student = _student(context)
    tuner = adapted.adapt(context.task, student.model)
    rounded = aware.prepare(context.task, student.model)
    course = _course(context, student, opened)
    kind = "Seq2Seq" if isinstance(student, Seq2Seq) else "Causal"
    return Work(
        course=course,
        student=student.model,
        tuner=tuner,
        fresh=lambda: _student(context).model,
        score=lambda model: course.of(model).score(),
        save=lambda model, folder: _save(
            context.task, course.of(model).writer, opened.prepared, folder
        ),
        facts=lambda _: {**trained.OF_A_WRITER, "architecture": kind, **rounded},
        measure="log-likelihood of the validation transforms",
        unit=" nats a token",
    )


def _student(context: Context) -> Student:
    """Make the untrained student."""
    seq2seq_wanted = models.is_seq2seq(context.task)
    return _seq2seq_student(context) if seq2seq_wanted else _causal_student(context)


def _course(context: Context, student: Student, opened: Opened) -> Course:
    spec, prepared, device = context.task.spec, opened.prepared.path, opened.device
    if isinstance(student, Seq2Seq):
        return seq2seq_gathering.gather(
            student, prepared, short_lesson(context.task), device=device
        )
    teacher = None if spec.teacher.model is None else partial(_causal_teacher, context)
    taught = lesson(context.task)
    return gathering.gather(student, prepared, taught, device=device, teacher=teacher)


def lesson(task: Task) -> gathering.Lesson:
    """Return what a task's causal student is taught."""
    spec = task.spec
    return gathering.Lesson(
        recipe=_recipe(task),
        training=spec.training,
        # The student is to be fast: it writes what is asked for, without reasoning before it.
        sampling=spec.teacher.sampling.model_copy(update={"chain_of_thought": False}),
        max_length=spec.student.max_length,
        chat=partial(_chat, models.wanted(task)),
    )


def short_lesson(task: Task) -> seq2seq_gathering.Lesson:
    """Return what a task's encoder-decoder is taught: it reads no instruction."""
    spec = task.spec
    return seq2seq_gathering.Lesson(_recipe(task), spec.training, spec.student.max_length)


def _recipe(task: Task) -> QueryTransformRecipe:
    recipe = task.spec.recipe.query_transform
    assert recipe is not None, "the contract ties the component to its recipe"
    return recipe


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
    def cut(wanted: FromTeacher) -> Causal:
        return causal.cut(_causal_teacher(context), wanted)

    return untaught.student(context, causal.load, cut)


def _seq2seq_student(context: Context) -> Seq2Seq:
    def cut(wanted: FromTeacher) -> Seq2Seq:
        return seq2seq.cut(_seq2seq_teacher(context), wanted)

    return untaught.student(context, seq2seq.load, cut)


def _seq2seq_teacher(context: Context) -> Seq2Seq:
    opened = models.open_weights(context)
    if isinstance(opened, Seq2Seq):
        return opened
    raise BadInput(
        Reason.BAD_RECIPE,
        "student.fromTeacher with architecture Seq2Seq needs an encoder-decoder as teacher, and"
        " this one is a causal model: name student.model, such as a T5, or set"
        " student.architecture to Causal",
    )


def _save(task: Task, student: Student, prepared: Output, folder: Path) -> None:
    """Write the student, and how its prompts are written down."""
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
        seq2seq.save(student, folder, most=told["sampling"]["maxTokens"])
        teaching["prefix"] = querying.PREFIXES[wanted.task]
    else:
        aware.finish(task, student.model)
        causal.save(student, folder)
        asked = querying.chat(Query(samples.QUESTION), wanted, lesson(task).sampling)
        chat_ids.write(student.tokenizer, asked, folder)
        teaching["instruction"] = querying.instruction(wanted)
        teaching["chatTemplate"] = conversation.template_hash(student.tokenizer)
    (folder / trained.TEACHING).write_text(json.dumps(teaching, indent=1) + "\n")
