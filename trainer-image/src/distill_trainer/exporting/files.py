"""Graphs as files: one of them holds all weights, or stands beside one that does."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import onnx

LIMIT: Final = 2_000_000_000
"""Bytes of weights in a graph's own file; protobuf reads no file of 2 GiB."""
BESIDE: Final = ".data"
"""What is added to a graph's name for the file with its weights."""


def write(export: Callable[[Path], None], target: Path) -> None:
    """Write a graph by export; with its weights in a file of their own where they are many.

    The exporter leaves a large graph's weights in one file for each, of which here becomes one.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        made = Path(scratch) / target.name
        export(made)
        if _weights(Path(scratch)) < LIMIT:
            made.replace(target)
            return
        onnx.save_model(
            onnx.load(str(made)),
            str(target),
            save_as_external_data=True,
            all_tensors_to_one_file=True,
            location=target.name + BESIDE,
        )


def size(graph: Path) -> int:
    """Count the bytes of a graph with its weights, wherever they are."""
    beside = graph.with_name(graph.name + BESIDE)
    return graph.stat().st_size + (beside.stat().st_size if beside.is_file() else 0)


def external(graph: Path) -> bool:
    """Tell whether a graph's weights are in a file of their own."""
    return graph.with_name(graph.name + BESIDE).is_file()


def described(graph: Path) -> dict[str, Any]:
    """Return what a user of a graph wants to know before opening it."""
    model = onnx.load(str(graph), load_external_data=False)
    return {
        "file": f"{graph.parent.name}/{graph.name}",
        "opset": next(entry.version for entry in model.opset_import if not entry.domain),
        "inputs": [_shaped(entry) for entry in model.graph.input],
        "outputs": [_shaped(entry) for entry in model.graph.output],
        "bytes": size(graph),
        "externalData": external(graph),
    }


def _shaped(entry: Any) -> dict[str, Any]:
    """Return name, type and axes of an input or output; a name stands for any size."""
    tensor = entry.type.tensor_type
    return {
        "name": entry.name,
        "type": onnx.TensorProto.DataType.Name(tensor.elem_type).lower(),
        "shape": [one.dim_param or one.dim_value for one in tensor.shape.dim],
    }


def _weights(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
