"""Train: make the student, teach it to order as its teacher does, keep its best checkpoint."""

import json
import logging
from functools import partial

from distill_api.names import Reason
from distill_api.student import StudentArchitecture
from distill_api.teacher import Prompts
from distill_api.wire import Report, Task

from distill_trainer.artifacts import Output
from distill_trainer.components import adapted, aware, trained
from distill_trainer.components.trained import Opened, Work
from distill_trainer.context import Context
from distill_trainer.errors import BadInput
from distill_trainer.sources import fetching
from distill_trainer.students import make, rankers
from distill_trainer.students.rankers import Ranker
from distill_trainer.teachers import opening
from distill_trainer.training import reranking
from distill_trainer.training.checkpoints import Standing
from distill_trainer.training.reranking import Lesson, Setting

log = logging.getLogger(__name__)


def run(context: Context) -> Report:
    """Train the student of a task, from its last checkpoint where an attempt left one."""
    return trained.run(context, partial(_work, context))


def _work(context: Context, opened: Opened) -> Work[Ranker]:
    """Make the untrained student and what it is taught."""
    task, prepared = context.task, opened.prepared
    student = _student(context, prepared)
    tuner = adapted.adapt(task, student[0].auto_model, head=True)
    rounded = aware.prepare_encoder(task, student)
    setting = Setting(opened.device, opened.tokens)
    course = reranking.gather(student, prepared.path, _lesson(task), setting)
    return Work(
        course=course,
        student=student,
        tuner=tuner,
        fresh=lambda: _student(context, prepared),
        score=course.score_of,
        save=partial(aware.save_encoder, task, prompts(task)),
        facts=lambda standing: {**_facts(task, standing), **rounded},
        measure="validation nDCG@10",
        helpers="scale.safetensors",
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


def _facts(task: Task, standing: Standing) -> dict[str, str]:
    own = {
        "validationMeasure": reranking.MEASURE,
        "architecture": rankers.architecture(task.spec.student).value,
    }
    last = standing.curve[-1].get("margins") or {}
    return own | {f"margin{name.capitalize()}": f"{value:.4g}" for name, value in last.items()}
