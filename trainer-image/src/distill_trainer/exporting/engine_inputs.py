"""What an engine is built from: a graph with its types; inputs, and what weights make of them."""

import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from distill_api.exports import EnginePrecision, EngineShape, TensorRt
from distill_api.names import Reason
from distill_api.wire import ENGINE_FOLDER
from distill_common import exporting, graphs

from distill_trainer.components import quantized
from distill_trainer.components.quantized import Subject
from distill_trainer.errors import BadInput
from distill_trainer.exporting import engine_program, files
from distill_trainer.quantizing import parity

FOLDER: Final = ENGINE_FOLDER
"""Of the export stage's output; not published."""
EXPECTED: Final = "expected-{number}.npy"


def write(subject: Subject, graph: Path, wanted: TensorRt, folder: Path) -> None:
    """Write graph, inputs, expected outputs and the plan of an engine into a folder.

    graph: the student's own, in float32.
    """
    folder.mkdir(exist_ok=True)
    names, output = list(quantized.sample(subject)), exporting.output_name(subject.model)
    files.write(lambda target: _typed(graph, wanted.precision, target), folder / graphs.FLOAT)
    cases = list(_cases(subject, wanted.max_shape, names, folder))
    if not cases:
        raise BadInput(
            Reason.BAD_RECIPE,
            "export.tensorRT.maxShape is smaller than any text of the validation split, so that the"
            " engine could not be checked: raise its batch and length",
        )
    plan = {
        "graph": graphs.FLOAT,
        "inputs": names,
        "output": output,
        "workspaceBytes": wanted.workspace_mebibytes << 20,
        **{size: _shape(getattr(wanted, f"{size}_shape")) for size in ("min", "opt", "max")},
        "cases": cases,
    }
    (folder / engine_program.PLAN).write_text(json.dumps(plan, indent=1), encoding="utf-8")


def _typed(graph: Path, precision: EnginePrecision, target: Path) -> None:
    """Write a graph in a number format: TensorRT builds by the types that it finds in it.

    Inputs and outputs stay as they are.
    """
    model = onnx.load(str(graph))
    if precision is EnginePrecision.FLOAT16:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        with warnings.catch_warnings():
            # A mask's lowest float32 becomes the lowest float16, which hides as well.
            warnings.simplefilter("ignore")
            model = convert_float_to_float16(model, keep_io_types=True)
    onnx.save(model, str(target))


def _cases(
    subject: Subject, most: EngineShape, names: Sequence[str], folder: Path
) -> Iterator[dict[str, Any]]:
    """Write inputs of several sizes and lengths that fit, and what the weights make of them."""
    number = 0
    for batch in parity.batches(subject.items):
        features = subject.model.preprocess(batch)
        rows = {name: features[name].numpy().astype(np.int64) for name in names}
        shape = list(next(iter(rows.values())).shape)
        if shape[0] > most.batch or shape[1] > most.length:
            continue
        inputs = {name: f"input-{number}-{name}.bin" for name in names}
        for name, file in inputs.items():
            (folder / file).write_bytes(np.ascontiguousarray(rows[name]).tobytes())
        with torch.no_grad():
            expected = exporting.finish(subject.model, subject.model(dict(features)))
        np.save(folder / EXPECTED.format(number=number), expected.float().numpy())
        yield {"inputs": inputs, "shape": shape}
        number += 1


def _shape(wanted: EngineShape) -> list[int]:
    return [wanted.batch, wanted.length]
