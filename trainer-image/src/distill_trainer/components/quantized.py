"""What the quantize stage of encoders does alike: a graph, its INT8 form, a gate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from distill_api.names import Stage
from distill_api.wire import Report
from distill_common import exporting, graphs
from numpy.typing import NDArray

from distill_trainer.components import evaluated, smaller
from distill_trainer.context import Context
from distill_trainer.measures import speed
from distill_trainer.measures.contest import MAIN
from distill_trainer.quantizing import int8, parity
from distill_trainer.quantizing.int8 import Layers
from distill_trainer.quantizing.note import Note
from distill_trainer.quantizing.running import InOnnx
from distill_trainer.report.material import Folders
from distill_trainer.training import runtime

ROUNDS: Final = 3
TIMED: Final = 256
"""Texts or pairs of one round of the throughput measurement."""

type Numbers = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Found:
    """What a student, or a graph of it, does on the validation split."""

    quality: float
    """nDCG@10."""
    numbers: Numbers
    """Embeddings [texts, width] or scores [pairs]."""
    scores: Sequence[Numbers]
    """Of each query: scores of documents, the same ones whoever is asked."""


class Subject(Protocol):
    """A trained student, and how it is judged."""

    @property
    def model(self) -> Any:
        """Return the student of torch, on the processor."""

    @property
    def items(self) -> Sequence[Any]:
        """Return texts or pairs of the validation split, prompts included."""

    def compute(self, model: Any, items: Sequence[Any]) -> Numbers:
        """Embed or score items in one batch."""

    def judge(self, model: Any) -> Found:
        """Measure a model in the student's place."""

    def agreement(self, before: Found, after: Found) -> float:
        """Return the lowest cosine, or the correlation of the scores."""


@dataclass(frozen=True, slots=True)
class Made:
    """A quantised graph that was judged."""

    graph: Path
    layers: Layers
    found: Found
    per_channel: bool


def run(context: Context, subject: Callable[[Context, Folders], Subject]) -> Report:
    """Quantise the trained student; BadInput where it loses more than the gate allows."""

    def quantize(folder: Path) -> Note:
        prepared, trained = (context.workspace.output(one) for one in (Stage.PREPARE, Stage.TRAIN))
        runtime.settle(context.task.threads, 0)
        return _quantize(context, subject(context, Folders(prepared.path, trained.path)), folder)

    return smaller.run(context, quantize)


def _quantize(context: Context, subject: Subject, folder: Path) -> Note:
    place = folder / graphs.FOLDER
    place.mkdir(exist_ok=True)
    whole = place / graphs.FLOAT
    exporting.export(subject.model, sample(subject), whole)
    context.progress.tell(1, 5, {}, "export")
    in_float = InOnnx(whole, subject.model, threads=context.task.threads)
    off = parity.check(
        lambda items: subject.compute(in_float, items),
        lambda items: subject.compute(subject.model, items),
        subject.items,
    )
    before = subject.judge(in_float)
    context.progress.tell(2, 5, {}, "measure the float graph")
    made = _better(context, subject, place, before)
    context.check_stop()
    paces = _paces(context, subject, whole, made.graph)
    made.graph.replace(place / graphs.QUANTIZED)
    for other in place.iterdir():
        if other.name != graphs.QUANTIZED:
            other.unlink()
    return Note(
        method=smaller.wanted(context).method.value,
        measure=MAIN,
        before=before.quality,
        after=made.found.quality,
        agreement=subject.agreement(before, made.found),
        ranks=ranks(before.scores, made.found.scores),
        largest_difference=float(np.abs(before.numbers - made.found.numbers).max()),
        parity=off,
        bytes_before=evaluated.weights_size(context.workspace.output(Stage.TRAIN).path / "student"),
        bytes_after=(place / graphs.QUANTIZED).stat().st_size,
        teacher_bytes=smaller.teacher_size(context),
        items_per_second=paces,
        per_channel=made.per_channel,
        layers=made.layers.quantized,
        left=made.layers.left,
    )


def _better(context: Context, subject: Subject, place: Path, before: Found) -> Made:
    """Quantise with a scale for each column and with one for each weight; keep what agrees better.

    Agreement with the float student decides, as nDCG of few queries moves by chance. A student that
    was trained to be rounded has learnt one scale for each column, and is made so.
    """
    candidates: list[Made] = []
    aware = smaller.wanted(context).aware_training
    for per_channel in (True,) if aware else (True, False):
        graph = place / f"candidate-{len(candidates)}.onnx"
        layers = int8.quantize(place / graphs.FLOAT, graph, per_channel=per_channel)
        found = subject.judge(InOnnx(graph, subject.model, threads=context.task.threads))
        candidates.append(Made(graph, layers, found, per_channel))
        context.progress.tell(3 + len(candidates) / 2, 5, {}, "measure the quantised graph")
        context.check_stop()
    return max(candidates, key=lambda made: subject.agreement(before, made.found))


def _paces(context: Context, subject: Subject, whole: Path, graph: Path) -> tuple[float, float]:
    """Items per second of both graphs, in turns, without the tokenising that they share."""
    size = context.task.spec.evaluation.throughput_batch_size
    by_length = sorted(subject.items[:TIMED], key=lambda item: (len(str(item)), str(item)))
    batches = [
        subject.model.preprocess(by_length[begin : begin + size])
        for begin in range(0, len(by_length), size)
    ]
    work = speed.Workload([], [[one] for one in batches], ROUNDS, lambda one: len(one["input_ids"]))
    models = {
        name: InOnnx(path, subject.model, threads=context.task.threads)
        for name, path in (("float", whole), ("quantised", graph))
    }
    timed = speed.measure(
        {name: _calls(model) for name, model in models.items()}, work, lambda _done, _total: None
    )
    return timed["float"].texts_per_second, timed["quantised"].texts_per_second


def _calls(model: InOnnx) -> speed.Embed:
    def embed(batch: Sequence[Any]) -> object:
        return [model(features) for features in batch]

    return embed


def sample(subject: Subject) -> dict[str, NDArray[np.int64]]:
    """Tokens by which the graph is traced: two rows at least, of different lengths."""
    features = subject.model.preprocess([*subject.items[:2], subject.items[0]])
    shape = features["input_ids"].shape
    return {
        name: value.numpy().astype(np.int64)
        for name, value in features.items()
        if getattr(value, "shape", None) == shape
    }


def ranks(before: Sequence[Numbers], after: Sequence[Numbers]) -> float:
    """Spearman's correlation of the scores of each query's documents; the mean over the queries."""
    found = [
        np.corrcoef(_places(left), _places(right))[0, 1]
        for left, right in zip(before, after, strict=True)
        if len(left) > 1
    ]
    return float(np.mean(found)) if found else 1.0


def _places(scores: Numbers) -> NDArray[np.int64]:
    return np.argsort(np.argsort(scores, kind="stable"), kind="stable")
