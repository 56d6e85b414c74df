"""Teaches one generator the same in three ways.

The guide's Trainer, our loop with the teacher in every step, and our loop on cached distributions:
all start from the same student, take the same answers in the same batches, and minimise the same
sum, (1 - alpha) x cross-entropy + alpha x KL to the teacher, over the tokens of the answers at
temperature 1, with AdamW at one learning rate. The guide's Trainer pads to the maximum length and
computes both models' logits at every place; ours pads to the longest of a forward pass and computes
them where something is learnt.
"""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import answers
import numpy as np
import torch
from answers import Lesson
from distill_api.recipe import GeneratorRecipe
from distill_api.training import Training
from distill_trainer.students import causal
from distill_trainer.students.causal import Causal
from distill_trainer.training import loop, order
from distill_trainer.training.checkpoints import Store
from distill_trainer.training.generating import GeneratorCourse
from distill_trainer.training.sequences import Taught
from loops import Loop, by_trainer, guides_arguments
from torch.nn import functional

ALPHA: Final = 0.7
RATE: Final = 3e-4
SEED: Final = 42
EPOCHS: Final = 2
"""Of our loops; the guide's Trainer is stopped after one, as its epochs are all alike."""
IGNORED: Final = -100


def label(lesson: Lesson, count: int) -> tuple[list[Taught], float]:
    """Cache the teacher's distributions of the first answers; returns the seconds, too."""
    teacher = causal.load(lesson.teacher)
    began = time.monotonic()
    return answers.labelled(teacher, lesson.train[:count]), time.monotonic() - began


def cached(lesson: Lesson, examples: Sequence[Taught], batch: int, scratch: Path) -> Loop:
    """Train with our loop on answers whose distributions are cached."""
    return _ours(lesson, examples, None, batch, scratch)


def in_the_loop(lesson: Lesson, count: int, batch: int, scratch: Path) -> Loop:
    """Train with our loop and the teacher in every step."""
    return _ours(lesson, lesson.train[:count], causal.load(lesson.teacher), batch, scratch)


def _ours(
    lesson: Lesson, examples: Sequence[Taught], teacher: Causal | None, batch: int, scratch: Path
) -> Loop:
    steps = EPOCHS * len(examples) // batch
    optimizer = {"learningRate": RATE, "warmupRatio": 0, "schedule": "Constant"}
    told = {"maxSteps": steps, "batchSize": batch, "checkpointSteps": steps, "seed": SEED}
    recipe = {"logits": {"alpha": ALPHA, "temperature": 1}}
    course = GeneratorCourse(
        recipe=GeneratorRecipe.model_validate(recipe),
        training=Training.model_validate({**told, "optimizer": optimizer}),
        writer=answers.student(lesson),
        examples=examples,
        validation=lesson.validation[:batch],
        device=torch.device("cpu"),
        vocabulary=answers.vocabulary(lesson),
        teacher=teacher,
    )
    found = Loop([], [])

    def tell(done: int, _total: int, metrics: Mapping[str, float]) -> None:
        chosen = order.records(len(examples), batch, done - 1, seed=SEED)
        tokens = sum(len(examples[place].target) for place in chosen.tolist())
        found.seconds.append(tokens / metrics["examplesPerSecond"])
        found.losses.append(metrics["loss"])

    loop.train(course, Store(scratch, keep=1), loop.Watch(tell=tell))
    return found


def compared_answers(student: Any, teacher: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Run student and teacher on the same tokens; returns the guide's loss, a scalar.

    Only what the answers' tokens cost is summed.
    """
    labels = inputs.pop("labels")[:, 1:]
    student_logits = student(**inputs).logits[:, :-1]
    with torch.no_grad():
        teacher_logits = teacher(**inputs).logits[:, :-1]
    learnt = labels != IGNORED
    soft_targets = functional.softmax(teacher_logits[learnt], dim=-1)
    student_log_soft = functional.log_softmax(student_logits[learnt], dim=-1)
    kl_loss = functional.kl_div(student_log_soft, soft_targets, reduction="batchmean")
    task_loss = functional.cross_entropy(student_logits[learnt], labels[learnt])
    return ALPHA * kl_loss + (1 - ALPHA) * task_loss


def guide(lesson: Lesson, count: int, batch: int, scratch: Path) -> Loop:
    """Train one epoch with the guide's loop."""
    examples = lesson.train[:count]
    steps = len(examples) // batch
    model, teacher = answers.student(lesson), causal.load(lesson.teacher)
    return by_trainer(
        compared_answers,
        model.model,
        teacher.model,
        args=guides_arguments(scratch, batch, steps, RATE),
        train_dataset=laid_out(examples, batch, steps, model.tokenizer.pad_token_id),
    )


def laid_out(
    examples: Sequence[Taught], batch: int, steps: int, pad: int
) -> list[dict[str, list[int]]]:
    """Lay the answers out in the order of our steps, each filled up to the longest of all."""
    longest = math.ceil(max(map(len, examples)) / 8) * 8
    chosen = np.concatenate(
        [order.records(len(examples), batch, step, seed=SEED) for step in range(steps)]
    )
    rows = []
    for one in (examples[place] for place in chosen.tolist()):
        empty = longest - len(one)
        target, prompt = one.target.tolist(), one.prompt.tolist()
        rows.append(
            {
                "input_ids": prompt + target + [pad] * empty,
                "attention_mask": [1] * len(one) + [0] * empty,
                "labels": [IGNORED] * len(prompt) + target + [IGNORED] * empty,
            }
        )
    return rows
