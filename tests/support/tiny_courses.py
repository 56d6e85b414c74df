"""Courses of tiny generators, and their gradients."""

import numpy as np
import tiny_causal
import torch
from distill_api.recipe import GeneratorRecipe
from distill_api.training import Training
from distill_trainer.students.causal import Causal
from distill_trainer.teachers import local_generator
from distill_trainer.texts import conversation
from distill_trainer.training.generating import GeneratorCourse, Layers
from distill_trainer.training.sequences import Taught
from torch import Tensor

CPU = torch.device("cpu")
SAMPLING = conversation.Sampling(temperature=0)


def some(known: Causal, count: int, teacher: Causal | None = None) -> list[Taught]:
    """Make answers of different lengths, with a teacher's cached distributions where given."""
    found = []
    for place, row in enumerate(tiny_causal.rows(count)):
        chat = conversation.chat(row["query"], row["context"] + " a1" * place, SAMPLING)
        prompt = conversation.prompt_ids(known.tokenizer, chat)
        target = conversation.target_ids(known.tokenizer, row["answer"] + " b2" * (place % 3))
        cached = None
        if teacher is not None:
            (cached,) = local_generator.top_k(teacher, [prompt], [target], 12)
        found.append(Taught(np.array(prompt), np.array(target), cached))
    return found


def course(
    recipe: dict[str, object],
    examples: list[Taught],
    student: Causal,
    teacher: Causal | None = None,
    **training: object,
) -> GeneratorCourse:
    """Make a course of a recipe and settings as they are written in an object."""
    settings = Training.model_validate({"maxSteps": 4, "batchSize": len(examples), **training})
    made = GeneratorRecipe.model_validate(recipe)
    inside = Layers(
        states=[1, 3] if made.hidden_states else [], attentions=[1, 3] if made.attentions else []
    )
    if made.attentions and teacher is not None:
        student.model.set_attn_implementation("eager")
        teacher.model.set_attn_implementation("eager")
    return GeneratorCourse(
        recipe=made,
        training=settings,
        writer=student,
        examples=examples,
        validation=examples,
        device=CPU,
        vocabulary=len(student.tokenizer),
        teacher=teacher,
        layers=inside,
    )


def gradients(of: GeneratorCourse) -> tuple[float, dict[str, Tensor]]:
    """Return loss and gradients of the first step."""
    of.student.zero_grad(set_to_none=True)
    loss = of.learn(0).loss
    found = {n: p.grad.clone() for n, p in of.student.named_parameters() if p.grad is not None}
    return loss, found
