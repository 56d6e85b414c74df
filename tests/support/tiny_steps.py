"""A step of any tiny course: its loss and its gradients, on whatever device it is."""

import numpy as np
import tiny_transforms
import torch
from distill_api.recipe import QueryTransformRecipe
from distill_api.training import Training
from distill_trainer.training.course import Course
from distill_trainer.training.seq2seq import Seq2SeqCourse
from distill_trainer.training.sequences import Taught
from torch import Tensor, nn


def still(student: nn.Module) -> None:
    """Switch dropout off: each kind of device draws numbers of its own."""
    for module in student.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def step(course: Course) -> dict[str, Tensor]:
    """Return loss and gradients of the first step, by name, on the CPU."""
    still(course.student)
    torch.manual_seed(1)
    course.begin()
    course.student.train()
    found = {"loss": torch.tensor(course.learn(0).loss)}
    for part in (course.student, course.helpers):
        for name, parameter in part.named_parameters():
            if parameter.grad is not None:
                found[name] = parameter.grad.float().cpu()
    return found


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Return the largest difference of two steps' gradients, over the largest gradient."""
    assert one.keys() == other.keys()
    names = one.keys() - {"loss"}
    largest = max(float(other[name].abs().max()) for name in names)
    assert largest > 1e-4, "something is learnt"
    return max(float((one[name] - other[name]).abs().max()) for name in names) / largest


def encoder_decoder(
    device: torch.device, dropout: float = 0.0, **training: object
) -> Seq2SeqCourse:
    """Make the course of a tiny T5 that learns to expand queries."""
    model = tiny_transforms.encoder_decoder(dropout=dropout)
    model.model.to(device)
    known = model.known
    examples = [
        Taught(np.arange(8, 12 + place) % known, np.arange(9, 12 + place % 3) % known)
        for place in range(9)
    ]
    return Seq2SeqCourse(
        QueryTransformRecipe.model_validate({"outputs": {}, "expansions": 2}),
        Training.model_validate({"batchSize": 5, **training}),
        model,
        examples,
        examples,
        device,
        known,
    )
