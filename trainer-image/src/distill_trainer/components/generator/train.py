"""Train: make the student, teach it its teacher's answers, keep its best checkpoint."""

import json
from functools import partial
from pathlib import Path

from distill_api.student import FromTeacher
from distill_api.wire import Report, Task
from transformers import PreTrainedModel

from distill_trainer.artifacts import Output
from distill_trainer.components import adapted, aware, trained, untaught
from distill_trainer.components.trained import Opened, Work
from distill_trainer.context import Context
from distill_trainer.students import causal, chat_ids, samples
from distill_trainer.students.causal import Causal
from distill_trainer.teachers import generating as teachers
from distill_trainer.texts import conversation
from distill_trainer.training import gathering
from distill_trainer.training.gathering import Lesson
from distill_trainer.training.generating import GeneratorCourse


def run(context: Context) -> Report:
    """Train the student of a task, from its last checkpoint where an attempt left one."""
    return trained.run(context, partial(_work, context))


def _work(context: Context, opened: Opened) -> Work[PreTrainedModel]:
    """Make the untrained student and what it is taught."""
    task, prepared = context.task, opened.prepared
    student = _student(context)
    tuner = adapted.adapt(task, student.model)
    rounded = aware.prepare(task, student.model)
    course = gathering.gather(
        student,
        prepared.path,
        lesson(task),
        device=opened.device,
        teacher=None if task.spec.teacher.model is None else lambda: teachers.open_weights(context),
    )
    template = conversation.template_hash(student.tokenizer)
    return Work(
        course=course,
        student=student.model,
        tuner=tuner,
        fresh=lambda: _student(context).model,
        score=lambda model: course.of(model).score(),
        save=lambda model, folder: _save(task, course.of(model), prepared, folder),
        facts=lambda _: {**trained.OF_A_WRITER, "chatTemplate": template, **rounded},
        measure="log-likelihood of the validation answers",
        unit=" nats a token",
    )


def lesson(task: Task) -> Lesson:
    """Return what a task's student is taught."""
    spec = task.spec
    assert spec.recipe.generator is not None, "the contract ties the component to its recipe"
    return Lesson(
        recipe=spec.recipe.generator,
        training=spec.training,
        sampling=spec.teacher.sampling,
        max_length=spec.student.max_length,
    )


def _student(context: Context) -> Causal:
    def cut(wanted: FromTeacher) -> Causal:
        return causal.cut(teachers.open_weights(context), wanted)

    return untaught.student(context, causal.load, cut)


def _save(task: Task, course: GeneratorCourse, prepared: Output, folder: Path) -> None:
    """Write the student, and how its prompts are written down."""
    aware.finish(task, course.writer.model)
    causal.save(course.writer, folder)
    asked = conversation.chat(samples.QUESTION, samples.LONG, task.spec.teacher.sampling)
    chat_ids.write(course.writer.tokenizer, asked, folder)
    told = json.loads((prepared.path / "prepared.json").read_text())
    teaching = {
        "chatTemplate": conversation.template_hash(course.writer.tokenizer),
        "teachersChatTemplate": told["template"],
        "instruction": conversation.INSTRUCTION,
        "sampling": told["sampling"],
        "weights": "float32",
        "precision": course.training.precision.value,
    }
    (folder / trained.TEACHING).write_text(json.dumps(teaching, indent=1) + "\n")
