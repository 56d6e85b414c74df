"""Opens teachers and students: causal models, encoder-decoders, servers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distill_api.student import StudentArchitecture
from distill_api.teacher import Sampling
from distill_api.wire import Task

from distill_trainer.context import Context
from distill_trainer.teachers import generating, opening
from distill_trainer.teachers.answers import Ask, Generator
from distill_trainer.texts import conversation, querying
from distill_trainer.texts.querying import Query, Wanted

if TYPE_CHECKING:
    from distill_trainer.students.causal import Causal
    from distill_trainer.students.seq2seq import Seq2Seq


def is_seq2seq(task: Task) -> bool:
    """Tell whether the student is an encoder-decoder."""
    return task.spec.student.architecture is StudentArchitecture.SEQ2SEQ


def wanted(task: Task) -> Wanted:
    """Return what is done to a query."""
    recipe = task.spec.recipe.query_transform
    assert recipe is not None, "the contract ties the component to its recipe"
    return querying.wanted(recipe)


def asker(wanted: Wanted, sampling: Sampling) -> Callable[[Query, int], Ask]:
    """Return what makes the conversation of a query for a causal model or a server."""

    def ask(query: Query, number: int = 0) -> Ask:
        messages = querying.chat(query, wanted, sampling)
        return Ask(tuple((one["role"], one["content"]) for one in messages), number)

    return ask


def open_weights(context: Context, folder: Path | None = None) -> "Causal | Seq2Seq":
    """Load the teacher's weights, whichever kind they are."""
    from distill_trainer.students import seq2seq

    source = context.task.spec.teacher.model
    assert source is not None, "only for teachers with weights"
    place = folder if folder is not None else opening.weights(context)
    if seq2seq.is_one(place, trust=source.trust_remote_code):
        return seq2seq.load(place, trust=source.trust_remote_code)
    causal: Causal = generating.open_weights(context, place)
    return causal


def open_teacher(
    context: Context, sampling: Sampling, folder: Path | None = None, *, spent: int = 0
) -> Generator:
    """Open the task's teacher, to be asked with some sampling.

    folder: its weights, where they are fetched already. spent: tokens of earlier attempts.
    """
    teacher = context.task.spec.teacher
    if teacher.endpoint is not None:
        return generating.open_served(context, teacher.endpoint, sampling, spent=spent)
    opened = open_weights(context, folder)
    return writer(context, opened, Room(sampling, teacher.batch_size, teacher.max_length))


@dataclass(frozen=True, slots=True)
class Room:
    """How a model writes here."""

    sampling: Sampling
    batch_size: int
    max_length: int | None = None


def writer(context: Context, model: "Causal | Seq2Seq", room: Room) -> Generator:
    """Let a model write in this process, on its accelerator if the pod was given one."""
    from distill_trainer.students.causal import Causal
    from distill_trainer.teachers.local_generator import LocalGenerator
    from distill_trainer.teachers.local_seq2seq import LocalSeq2Seq

    generating.placed(context, model)
    if isinstance(model, Causal):
        conversation.ensure_template(model.tokenizer)
        return LocalGenerator(model, room.sampling, room.batch_size, room.max_length)
    return LocalSeq2Seq(model, room.sampling, room.batch_size, room.max_length)
