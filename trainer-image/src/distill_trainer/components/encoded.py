"""What the export stage of encoders does alike: one graph, held against the student."""

from collections.abc import Callable
from pathlib import Path

from distill_api.exports import Onnx
from distill_common import exporting, graphs

from distill_trainer.components import exported, quantized
from distill_trainer.components.quantized import Subject
from distill_trainer.context import Context
from distill_trainer.exporting import engine_inputs, files
from distill_trainer.exporting.note import Checked
from distill_trainer.quantizing import parity
from distill_trainer.quantizing.running import InOnnx
from distill_trainer.report.material import Folders

STEPS = 2


def to_onnx(
    context: Context,
    folders: Folders,
    asked: Onnx,
    folder: Path,
    *,
    subject: Callable[[Context, Folders], Subject],
) -> Checked:
    """Write model.onnx, with pooling and normalising or activation; BadInput where it is off."""
    opened = subject(context, folders)
    graph = folder / graphs.FLOAT
    sample = quantized.sample(opened)
    files.write(
        lambda target: exporting.export(opened.model, sample, target, opset=asked.opset), graph
    )
    context.progress.tell(1, STEPS, {"megabytes": round(files.size(graph) / 1e6, 1)}, "export")
    context.check_stop()
    in_onnx = InOnnx(graph, opened.model, threads=context.task.threads)
    off = parity.check(
        lambda items: opened.compute(in_onnx, items),
        lambda items: opened.compute(opened.model, items),
        opened.items,
        most=asked.max_difference,
        advice="raise export.onnx.maxDifference, or remove export.onnx",
    )
    tensor_rt = exported.wanted(context.task).tensor_rt
    if tensor_rt is not None:
        place = folder.parent / engine_inputs.FOLDER
        engine_inputs.write(opened, graph, tensor_rt, place)
    return Checked(largest_difference=off, batches=len(parity.BATCHES) * len(parity.REPEATS))
