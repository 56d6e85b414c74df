"""What INT8 costs and gains: float and quantised graphs of the bench's encoder, in one run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import loops
import numpy as np
import torch
from distill_api.outcome import Corpus
from distill_api.teacher import Prompts
from distill_common import exporting
from distill_trainer.components.embedding.quantize import Embedding, few
from distill_trainer.measures import quality, speed
from distill_trainer.quantizing import fake_graph, int8
from distill_trainer.quantizing.running import InOnnx
from distill_trainer.students import make
from distill_trainer.teachers.local import LocalTeacher
from lesson import Lesson
from worth import DISTILLED, Work, embedder, taught

BATCH = 32
TEXTS = 256
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Form:
    """One form of a model."""

    megabytes: float
    quality: float
    """nDCG@10 on the test split."""
    documents_per_second: float
    """Median over the rounds, in batches of BATCH, tokenising included."""


def measure(lesson: Lesson, work: Work, threads: int) -> dict[str, dict[str, Form]]:
    """Measure the teacher, and the student that it has taught."""
    torch.set_num_threads(threads)
    teacher = make.load(lesson.teacher).eval()
    teacher.max_seq_length = lesson.spec["teacher"]["maxLength"]
    bench = few(quality.load(lesson.prepared, Corpus.ALL), 0)
    models = {
        "all-MiniLM-L6-v2": teacher,
        "its student": embedder(lesson, work, DISTILLED, _recipe(lesson), work.seeds[0]).eval(),
        "its student, trained with rounding": _rounded(lesson, work),
    }
    found: dict[str, dict[str, Form]] = {}
    for name, model in models.items():
        place = work.scratch / name.replace(" ", "-")
        place.mkdir()
        found[name] = _forms(Embedding(model, bench, Prompts(), BATCH), place, threads)
    return found


def rows(found: dict[str, dict[str, Form]]) -> list[list[str]]:
    """Return the table's rows."""
    return [
        [
            name,
            form,
            f"{own.megabytes:.1f}",
            f"{own.quality:.4f}",
            f"{1 - own.quality / forms['float, ONNX Runtime'].quality:+.2%}",
            f"{own.documents_per_second:.1f}",
            f"{own.documents_per_second / forms['float, ONNX Runtime'].documents_per_second:.2f}x",
        ]
        for name, forms in found.items()
        for form, own in forms.items()
    ]


def _recipe(lesson: Lesson) -> dict[str, Any]:
    recipe: dict[str, Any] = lesson.spec["recipe"]["embedding"]
    return recipe


def _rounded(lesson: Lesson, work: Work) -> Any:
    """Teach the same student the same, while it computes as its graph will."""
    learner = loops.student(lesson)
    fake_graph.prepare(learner)
    made = taught(learner, lesson, work, "rounded", (_recipe(lesson), work.seeds[0])).eval()
    fake_graph.finish(made)
    return made


def _forms(subject: Embedding, place: Path, threads: int) -> dict[str, Form]:
    whole, small = place / "float.onnx", place / "int8.onnx"
    features = subject.model.preprocess(list(subject.items[:3]))
    sample = {k: v.numpy().astype(np.int64) for k, v in features.items() if hasattr(v, "numpy")}
    exporting.export(subject.model, sample, whole)
    int8.quantize(whole, small, per_channel=True)
    models: dict[str, Any] = {
        "float, torch": subject.model,
        "float, ONNX Runtime": InOnnx(whole, subject.model, threads=threads),
        "INT8, ONNX Runtime": InOnnx(small, subject.model, threads=threads),
    }
    sizes = [4 * make.parameters(subject.model), whole.stat().st_size, small.stat().st_size]
    paces = _paces(models, subject.items[:TEXTS])
    return {
        name: Form(size / 1e6, subject.judge(model).quality, paces[name])
        for (name, model), size in zip(models.items(), sizes, strict=True)
    }


def _paces(models: Mapping[str, Any], texts: Sequence[str]) -> dict[str, float]:
    """Return documents per second, the median over rounds that the models take in turns.

    Within a round a model has caches and processors for itself, as in its server. Batch by batch in
    turns it starts cold, beside threads of the others that spin while they wait, which costs the
    fastest the most.
    """
    work = speed.Workload([], speed.batches(texts, BATCH), 1)
    embedders = {name: _embedder(LocalTeacher(model, BATCH)) for name, model in models.items()}
    found: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, embed in embedders.items():
            timed = speed.measure({name: embed}, work, lambda _done, _total: None)
            found[name].append(timed[name].texts_per_second)
    return {name: median(paces) for name, paces in found.items()}


def _embedder(model: LocalTeacher) -> speed.Embed:
    def embed(texts: Sequence[str]) -> object:
        return model.embed(texts, prompt="") if texts else None

    return embed
