"""What 4-bit weights cost SmolLM2, and how much of it calibrating or training wins back.

All forms are of one model with one scheme, loaded from their files, and held against its float form
on answers that nothing was chosen by. Training aware of the rounding has the float model as its
teacher and no hard labels, so that it can win back what rounding lost and learn nothing else.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import answers
import torch
from answers import Lesson
from distill_api.recipe import GeneratorRecipe
from distill_api.student import FromTeacher
from distill_api.training import Quantize, Training
from distill_trainer.quantizing import compared, compressing, fake, schemes
from distill_trainer.quantizing.compared import Likeness
from distill_trainer.students import causal
from distill_trainer.students.causal import Causal
from distill_trainer.training import loop
from distill_trainer.training.checkpoints import Store
from distill_trainer.training.generating import GeneratorCourse
from distill_trainer.training.sequences import Taught

GROUP: Final = 64
"""The largest power of two that divides the inputs of SmolLM2's layers."""
RATE: Final = 5e-5
"""Set once and not searched for."""
FLOAT, ROUNDED, AWARE = "float", "INT4, rounded to nearest", "INT4, trained aware of it"
W8A8: Final = "INT8, weights and activations"
FEW: Final = [0, 7, 15, 22, 29]
"""Of 30 layers. Word embeddings, which stay float, are most of what is left then."""
FEW_RATE: Final = 5e-4
SMALL: Final = f"distilled to {len(FEW)} layers, GPTQ"


@dataclass(frozen=True, slots=True)
class Form:
    """One form of the model."""

    megabytes: float
    perplexity: float
    """Of the test's answers."""
    divergence: float
    """From the float form, in nats for each token."""
    agreement: float
    """Share of tokens at which both find the same one likeliest."""


@dataclass(frozen=True, slots=True)
class Work:
    """How much is learnt, and by what is calibrated."""

    steps: int
    batch: int
    calibration: int
    scratch: Path


def measure(lesson: Lesson, work: Work) -> dict[str, Form]:
    """Write and measure every form."""
    group = {"groupSize": GROUP, "calibrationRecords": work.calibration}
    asked = {
        ROUNDED: {"method": "INT4", **group},
        "GPTQ": {"method": "GPTQ", **group},
        "AWQ": {"method": "AWQ", **group},
        W8A8: {"method": "INT8", **group},
        AWARE: {"method": "INT4", "awareTraining": True, **group},
        SMALL: {"method": "GPTQ", **group},
    }
    examples = answers.labelled(causal.load(lesson.teacher), lesson.train)
    found: dict[str, Form] = {}
    for name, spec in asked.items():
        wanted = Quantize.model_validate(spec)
        source = lesson.teacher
        if wanted.aware_training:
            source = _aware(lesson, wanted, examples, work)
        elif name == SMALL:
            source = _distilled(lesson, examples, work)
        folder = work.scratch / name.replace(" ", "-").replace(",", "")
        likeness = _written(lesson, wanted, source, folder)
        found[FLOAT] = Form(_megabytes(lesson.teacher), _perplexity(likeness.before), 0.0, 1.0)
        found[name] = _form(folder, likeness)
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    return found


def rows(found: dict[str, Form]) -> list[list[str]]:
    """Return the table's rows."""
    start = found[FLOAT]
    return [
        [
            name,
            f"{own.megabytes:.1f}",
            f"{start.megabytes / own.megabytes:.2f}x",
            f"{own.perplexity:.3f}",
            f"{own.divergence:.4f}",
            f"{own.agreement:.1%}",
            *_won_back(name, found),
        ]
        for name, own in found.items()
    ]


def _won_back(name: str, found: dict[str, Form]) -> list[str]:
    """Return how much of rounding's loss a form has not: of likelihood, and of divergence."""
    if name in {FLOAT, ROUNDED, SMALL}:
        return ["", ""]
    start, lost, own = found[FLOAT], found[ROUNDED], found[name]
    likelihood = math.log(lost.perplexity / own.perplexity) / math.log(
        lost.perplexity / start.perplexity
    )
    return [f"{likelihood:.0%}", f"{1 - own.divergence / lost.divergence:.0%}"]


def _written(lesson: Lesson, wanted: Quantize, source: Path, folder: Path) -> Likeness:
    """Write a model's quantised form to a folder and hold it against the float model."""
    drawn = compressing.chosen(lesson.train, wanted, seed=0)
    compressing.compress(causal.load(source), wanted, drawn, folder)
    return compared.compare(causal.load(lesson.teacher), compared.load(folder), lesson.test)


def _form(folder: Path, found: Likeness) -> Form:
    perplexity = _perplexity(found.after)
    return Form(_megabytes(folder), perplexity, found.divergence, found.agreement)


def _perplexity(log_likelihood: float) -> float:
    return float(torch.tensor(-log_likelihood).exp())


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e6


def _aware(lesson: Lesson, wanted: Quantize, examples: Sequence[Taught], work: Work) -> Path:
    """Train the model while its weights are rounded, by what its float form says."""
    student = causal.load(lesson.teacher)
    fake.prepare(student.model, schemes.of(wanted))
    _teach(lesson, student, examples, replace(work, scratch=work.scratch / "aware"), RATE)
    fake.finish(student.model)
    return _saved(student, work.scratch / "aware-student")


def _distilled(lesson: Lesson, examples: Sequence[Taught], work: Work) -> Path:
    """Train a student of few layers by what the model says."""
    student = causal.cut(causal.load(lesson.teacher), FromTeacher(keep_layers=FEW))
    _teach(lesson, student, examples, replace(work, scratch=work.scratch / "few"), FEW_RATE)
    return _saved(student, work.scratch / "few-student")


def _teach(
    lesson: Lesson, student: Causal, examples: Sequence[Taught], work: Work, rate: float
) -> None:
    student.model.get_input_embeddings().weight.requires_grad_(False)
    settings = {
        "maxSteps": work.steps,
        "batchSize": work.batch,
        "checkpointSteps": work.steps,
        "optimizer": {"learningRate": rate},
    }
    course = GeneratorCourse(
        recipe=GeneratorRecipe.model_validate({"logits": {"alpha": 1, "temperature": 1}}),
        training=Training.model_validate(settings),
        writer=student,
        examples=list(examples),
        validation=lesson.validation,
        device=torch.device("cpu"),
        vocabulary=answers.vocabulary(lesson),
    )
    loop.train(course, Store(work.scratch, keep=1), loop.Watch())


def _saved(student: Causal, folder: Path) -> Path:
    causal.save(student, folder)
    return folder
