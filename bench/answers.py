"""The bench's data and models of what writes: questions about Python, SmolLM2 as the teacher.

For a generator a question asks what something of the standard library is; its context is the body
of the docstring, its answer the docstring's first sentence. For a query transform the query is the
first sentence, and its expansions are the name of what it documents, its parameters, and the first
words of the body. Both are the hard labels: people wrote them, not the teacher.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from distill_api.data import Splits
from distill_api.recipe import GeneratorRecipe, QueryTransformTask
from distill_api.student import FromTeacher
from distill_api.teacher import Sampling
from distill_api.training import Training
from distill_trainer.measures.lifting import Bench
from distill_trainer.preparing import splits
from distill_trainer.students import causal
from distill_trainer.students.causal import Causal
from distill_trainer.teachers import local_generator
from distill_trainer.texts import conversation, querying
from distill_trainer.texts.conversation import Message
from distill_trainer.texts.querying import Query, Wanted
from distill_trainer.training import loop
from distill_trainer.training.checkpoints import Store
from distill_trainer.training.generating import GeneratorCourse
from distill_trainer.training.sequences import Taught
from transformers import AutoTokenizer

from examples.embedding import corpus
from examples.generator import demo

KEPT_LAYERS: Final = [0, 4, 8, 12, 17, 21, 25, 29]
"""Of the teacher's 30: the student's."""
TOP: Final = 32
"""Tokens that are cached of each distribution, as in the example."""
ASKING: Final = Sampling(system_prompt="You explain Python.", temperature=0.0)
WANTED: Final = Wanted(QueryTransformTask.EXPANSION, 3)
BODY: Final = 8
"""Words of the body in an expansion."""
WORDS: Final = range(8, 21)
"""Words of an answer."""
LEAST_BODY: Final = 12
"""Words that a context has at least: the answer is to be found in it, or nearly."""
TOGETHER: Final = 16
"""Answers of one forward pass of the teacher."""
MORE: Final = 3
"""Times the student's records that the teacher is adapted by."""
TEACHERS_RATE: Final = 2e-4
TEACHERS_BATCH: Final = 8
HELD_OUT: Final = 48
"""Answers for validation and for the test, each."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One record, as words."""

    chat: list[Message]
    answer: str


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the loops learn from; the teacher's distributions are not among it."""

    teacher: Path
    student: Path
    """Some of the teacher's layers, untrained."""
    train: list[Taught]
    more: list[Taught]
    """What the teacher is adapted by: the same and as many again, and again."""
    validation: list[Taught]
    test: list[Taught]
    asked: list[Asked]
    """The test's records."""


def make(work: Path, records: int) -> Lesson:
    """Write both models below `work` and choose the questions, so many of them to learn from."""
    return _lesson(work, records, [(split, _question(row)) for split, row in _rows()])


def expansions(work: Path, records: int) -> tuple[Lesson, Bench]:
    """Do so with the expansions of queries; returns what they are searched in, too."""
    rows = _rows()
    lesson = _lesson(work, records, [(split, _expanded(row)) for split, row in rows])
    test = list(islice((row for split, row in rows if split == splits.TEST), HELD_OUT))
    others = [row for split, row in rows if split != splits.TEST]
    bench = Bench(
        queries=[Query(row.query or "") for row in test],
        documents=[row.document for row in [*test, *others]],
        relevant={place: frozenset({place}) for place in range(len(test))},
        replaces=False,
    )
    return lesson, bench


def _lesson(work: Path, records: int, every: Sequence[tuple[str, Asked]]) -> Lesson:
    folder, small = work / "smollm2", work / "smollm2-cut"
    demo.write_teacher(folder)
    teacher = causal.load(folder)
    causal.save(causal.cut(teacher, FromTeacher(keep_layers=KEPT_LAYERS)), small)
    chosen = {
        name: list(islice((one for split, one in every if split == name), count))
        for name, count in zip(splits.ORDER, (MORE * records, HELD_OUT, HELD_OUT), strict=True)
    }
    taught = {
        name: [_taught(teacher.tokenizer, one) for one in found] for name, found in chosen.items()
    }
    more = taught.pop(splits.TRAIN)
    return Lesson(folder, small, more[:records], more, **taught, asked=chosen[splits.TEST])


def adapted(lesson: Lesson, work: Path, steps: int) -> Lesson:
    """Teach the teacher the hard labels first, so that it has something to say about them.

    Its upper half learns, as that takes two thirds of the time. The student is cut out of it anew.
    """
    teacher = causal.load(lesson.teacher)
    body: Any = teacher.model.base_model
    body.get_input_embeddings().requires_grad_(False)
    body.layers[: len(body.layers) // 2].requires_grad_(False)
    optimizer = {"learningRate": TEACHERS_RATE}
    told = {"maxSteps": steps, "batchSize": TEACHERS_BATCH, "checkpointSteps": steps, "seed": 0}
    course = GeneratorCourse(
        recipe=GeneratorRecipe.model_validate({"outputs": {}}),
        training=Training.model_validate({**told, "optimizer": optimizer}),
        writer=teacher,
        examples=lesson.more,
        validation=lesson.validation,
        device=torch.device("cpu"),
        vocabulary=vocabulary(lesson),
    )
    loop.train(course, Store(work / "checkpoints", keep=1), loop.Watch())
    large, small = work / "adapted", work / "adapted-cut"
    causal.save(teacher, large)
    causal.save(causal.cut(teacher, FromTeacher(keep_layers=KEPT_LAYERS)), small)
    return replace(lesson, teacher=large, student=small)


def _rows() -> list[tuple[str, corpus.Row]]:
    """Return split and row of what is documented well, in an order that mixes modules."""
    found = [
        (splits.assign(f"group:{row.group}", Splits()), row)
        for row in corpus.of_this_python()
        if len((row.query or "").split()) in WORDS
        and len(row.document.partition("\n")[2].split()) >= LEAST_BODY
    ]
    order = np.random.default_rng(0).permutation(len(found))
    return [found[place] for place in order]


def _question(row: corpus.Row) -> Asked:
    name, _, body = row.document.partition("\n")
    return Asked(conversation.chat(f"What is {name}?", body, ASKING), row.query or "")


def _expanded(row: corpus.Row) -> Asked:
    heading, _, body = row.document.partition("\n")
    path, _, parameters = heading.partition("(")
    names = path.split(".")
    texts = [" ".join(names), " ".join([names[-1], *re.findall(r"\w+", parameters)])]
    told = querying.written([*texts, " ".join(body.split()[:BODY])])
    return Asked(querying.chat(Query(row.query or ""), WANTED, ASKING), told)


def _taught(tokenizer: object, one: Asked) -> Taught:
    prompt, target = (
        np.array(ids, dtype=np.int64)
        for ids in (
            conversation.prompt_ids(tokenizer, one.chat),
            conversation.target_ids(tokenizer, one.answer),
        )
    )
    return Taught(prompt, target)


def student(lesson: Lesson) -> Causal:
    """Load the untrained student; its word embeddings stay as they are."""
    made = causal.load(lesson.student)
    made.model.get_input_embeddings().weight.requires_grad_(False)
    return made


def vocabulary(lesson: Lesson) -> int:
    """Count the tokens that both models know."""
    tokenizer = AutoTokenizer.from_pretrained(lesson.teacher)
    return int(max(tokenizer.get_vocab().values())) + 1


def labelled(teacher: Causal, taught: Sequence[Taught]) -> list[Taught]:
    """Add the teacher's cached distributions to answers, as the label stage keeps them."""
    found: dict[int, Taught] = {}
    order = sorted(range(len(taught)), key=lambda place: len(taught[place]))
    for begin in range(0, len(order), TOGETHER):
        places = order[begin : begin + TOGETHER]
        prompts = [taught[place].prompt.tolist() for place in places]
        written = [taught[place].target.tolist() for place in places]
        told = local_generator.top_k(teacher, prompts, written, TOP)
        for place, distributions in zip(places, told, strict=True):
            found[place] = replace(taught[place], cached=distributions)
    return [found[place] for place in range(len(taught))]
