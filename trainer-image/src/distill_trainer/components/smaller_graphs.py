"""The quantize stage of an encoder-decoder: its graphs, their INT8 form, a gate."""

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from distill_api.names import Stage
from distill_api.wire import Report, Task
from distill_common import graphs

from distill_trainer.components import evaluated, smaller
from distill_trainer.components.trained import STUDENT
from distill_trainer.context import Context
from distill_trainer.exporting import by_weights, note, running, seq2seq_graphs, writing
from distill_trainer.exporting.running import Seq2SeqGraphs
from distill_trainer.measures import speed
from distill_trainer.quantizing import compared, compared_graphs, int8, parity
from distill_trainer.quantizing.compared import Likeness
from distill_trainer.quantizing.graphs_note import GraphsNote
from distill_trainer.quantizing.int8 import Layers
from distill_trainer.quantizing.writing_note import MEASURE
from distill_trainer.students import seq2seq
from distill_trainer.students.seq2seq import Seq2Seq
from distill_trainer.training import runtime, seq2seq_gathering
from distill_trainer.training.seq2seq_gathering import Lesson
from distill_trainer.training.sequences import Taught

STEPS: Final = 5
ROUNDS: Final = 3
TIMED: Final = 8
"""Sources of the batch that is timed."""
SCHEME: Final = "W8A8"
WHOLE: Final = "float"
"""Folder of the graphs that are quantised; they are not kept."""


@dataclass(frozen=True, slots=True)
class Made:
    """Quantised graphs that were judged."""

    folder: Path
    layers: Layers
    found: Likeness
    per_channel: bool


def run(context: Context, lesson: Callable[[Task], Lesson]) -> Report:
    """Quantise the trained student; BadInput where it loses more than the gate allows."""

    def quantize(folder: Path) -> GraphsNote:
        runtime.settle(context.task.threads, 0)
        place = folder / graphs.FOLDER
        place.mkdir(exist_ok=True)
        return _quantize(context, lesson(context.task), place)

    return smaller.run(context, quantize)


def _quantize(context: Context, lesson: Lesson, place: Path) -> GraphsNote:
    source = context.workspace.output(Stage.TRAIN).path / STUDENT
    student = seq2seq.load(source, trust=evaluated.trusts(context.task))
    prepared = context.workspace.output(Stage.PREPARE).path
    taught = seq2seq_gathering.read(student, prepared, lesson, "validation")
    whole, off = _whole(context, student, taught, place / WHOLE)
    made = _better(context, student, taught, place)
    compared.refuse_garbage(made.found)
    small = _opened(context, student, made.folder, seq2seq_graphs.QUANTIZED)
    paces = _paces((whole, small), student, taught)
    _keep(made.folder, place)
    return GraphsNote(
        method=smaller.wanted(context).method.value,
        measure=MEASURE,
        before=math.exp(made.found.before),
        after=math.exp(made.found.after),
        bytes_before=evaluated.weights_size(source),
        bytes_after=sum(path.stat().st_size for path in place.iterdir()),
        teacher_bytes=smaller.teacher_size(context),
        layers=made.layers.quantized,
        left=made.layers.left,
        scheme=SCHEME,
        group_size=-1,
        divergence=made.found.divergence,
        agreement=made.found.agreement,
        tokens=made.found.tokens,
        calibrated_by=0,
        on_purpose=(),
        made_with=note.versions(note.VERIFIED_WITH),
        verified_with=note.versions(note.VERIFIED_WITH),
        files=seq2seq_graphs.QUANTIZED,
        per_channel=made.per_channel,
        parity=off,
        sources_per_second=paces,
    )


def _whole(
    context: Context, student: Seq2Seq, taught: Sequence[Taught], folder: Path
) -> tuple[Seq2SeqGraphs, float]:
    """Write the float graphs, and hold them against the weights; returns their difference."""
    folder.mkdir(exist_ok=True)
    seq2seq_graphs.export(student, folder, opset=graphs.OPSET)
    context.progress.tell(1, STEPS, {}, "export")
    opened = _opened(context, student, folder, seq2seq_graphs.NAMES)
    batches = writing.batches([one.prompt.tolist() for one in taught])
    written = [by_weights.of_seq2seq(student, one) for one in batches]
    checked = writing.check(opened, written, parity.TOLERANCE)
    context.progress.tell(2, STEPS, {}, "compare the float graphs")
    context.check_stop()
    return opened, checked.largest_difference


def _better(context: Context, student: Seq2Seq, taught: Sequence[Taught], place: Path) -> Made:
    """Quantise with a scale for each column and with one for each weight; keep what is closer."""
    candidates: list[Made] = []
    for per_channel in (True, False):
        folder = place / f"candidate-{len(candidates)}"
        folder.mkdir(exist_ok=True)
        layers = _int8(place / WHOLE, folder, per_channel=per_channel)
        opened = _opened(context, student, folder, seq2seq_graphs.QUANTIZED)
        found = compared_graphs.compare(student, opened, taught)
        candidates.append(Made(folder, layers, found, per_channel))
        context.progress.tell(2 + len(candidates), STEPS, {}, "measure the quantised graphs")
        context.check_stop()
    return min(candidates, key=lambda made: made.found.divergence)


def _int8(source: Path, target: Path, *, per_channel: bool) -> Layers:
    """Quantise each graph; returns the layers of all of them."""
    found = {
        name: int8.quantize(source / name, target / small, per_channel=per_channel)
        for name, small in zip(seq2seq_graphs.NAMES, seq2seq_graphs.QUANTIZED, strict=True)
    }
    left = [f"{Path(name).stem}{layer}" for name, own in found.items() for layer in own.left]
    return Layers(sum(own.quantized for own in found.values()), tuple(left))


def _opened(
    context: Context, student: Seq2Seq, folder: Path, names: Sequence[str]
) -> Seq2SeqGraphs:
    return Seq2SeqGraphs(folder, names, student.start, threads=context.task.threads)


def _paces(
    both: tuple[Seq2SeqGraphs, Seq2SeqGraphs], student: Seq2Seq, taught: Sequence[Taught]
) -> tuple[float, float]:
    """Time both graphs in turns, each writing as many tokens; returns sources per second."""
    sources = [taught[place % len(taught)].prompt.tolist() for place in range(TIMED)]
    padded = seq2seq.padded(sources, student.tokenizer.pad_token_id, student.model.device)
    ids, mask = (one.numpy() for one in padded)

    def calls(opened: Seq2SeqGraphs) -> speed.Embed:
        def write(_batch: object) -> object:
            return running.greedy(opened, ids, mask, ends=(), most=writing.MOST)

        return write

    work = speed.Workload([], [sources], ROUNDS, len)
    timed = speed.measure(
        {name: calls(one) for name, one in zip(("float", "quantised"), both, strict=True)},
        work,
        lambda _done, _total: None,
    )
    return timed["float"].texts_per_second, timed["quantised"].texts_per_second


def _keep(folder: Path, place: Path) -> None:
    """Leave the chosen graphs alone in their place."""
    for path in folder.iterdir():
        path.replace(place / path.name)
    for other in place.iterdir():
        if other.is_dir():
            shutil.rmtree(other)
