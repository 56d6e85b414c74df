"""What the export stage of all that writes does alike: graphs, held against the student."""

from pathlib import Path

from distill_api.exports import Onnx

from distill_trainer.components import evaluated
from distill_trainer.components.trained import STUDENT
from distill_trainer.context import Context
from distill_trainer.exporting import by_weights, causal_graph, seq2seq_graphs, writing
from distill_trainer.exporting.note import Checked
from distill_trainer.exporting.running import CausalGraph, Seq2SeqGraphs
from distill_trainer.report.material import Folders
from distill_trainer.students import causal, seq2seq
from distill_trainer.training import gathering, seq2seq_gathering
from distill_trainer.training.sequences import Taught

STEPS = 2


def causal_to_onnx(
    context: Context, folders: Folders, asked: Onnx, folder: Path, *, lesson: gathering.Lesson
) -> Checked:
    """Write a causal student's graph; BadInput where it writes otherwise than the weights."""
    student = causal.load(folders.trained / STUDENT, trust=evaluated.trusts(context.task))
    taught = gathering.read(student, folders.prepared, lesson, "validation")
    (name,) = causal_graph.NAMES
    causal_graph.export(student, folder / name, opset=asked.opset)
    context.progress.tell(1, STEPS, {}, "export")
    context.check_stop()
    batches = writing.batches(_prompts(taught))
    return writing.check(
        CausalGraph(folder / name, threads=context.task.threads),
        [by_weights.of_causal(student, one) for one in batches],
        asked.max_difference,
    )


def seq2seq_to_onnx(
    context: Context,
    folders: Folders,
    asked: Onnx,
    folder: Path,
    *,
    lesson: seq2seq_gathering.Lesson,
) -> Checked:
    """Write an encoder-decoder's graphs; BadInput where they write otherwise than the weights."""
    student = seq2seq.load(folders.trained / STUDENT, trust=evaluated.trusts(context.task))
    taught = seq2seq_gathering.read(student, folders.prepared, lesson, "validation")
    seq2seq_graphs.export(student, folder, opset=asked.opset)
    context.progress.tell(1, STEPS, {}, "export")
    context.check_stop()
    batches = writing.batches(_prompts(taught))
    opened = Seq2SeqGraphs(
        folder, seq2seq_graphs.NAMES, student.start, threads=context.task.threads
    )
    written = [by_weights.of_seq2seq(student, one) for one in batches]
    return writing.check(opened, written, asked.max_difference)


def _prompts(taught: list[Taught]) -> list[list[int]]:
    return [one.prompt.tolist() for one in taught]
