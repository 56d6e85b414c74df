"""INT8 graphs: weights of 8 bits, activations rounded as they come; what stayed float is found."""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

MULTIPLIES: Final = ("MatMul", "Gemm", "Conv")
"""Operators that a layer of weights becomes."""
INTEGER: Final = ("MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm")
PASSES: Final = ("Transpose", "Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze")
"""Operators behind which weights are still weights."""


@dataclass(frozen=True, slots=True)
class Layers:
    """Layers of weights in a quantised graph."""

    quantized: int
    left: tuple[str, ...]
    """Names of those that still multiply floats."""


def quantize(source: Path, target: Path, *, per_channel: bool) -> Layers:
    """Write the INT8 form of a float graph, and say which layers it has.

    per_channel: a scale for each column of a weight, or one for all of it. Weights have 7 bits of
    the 8: the sums of two products of full range overflow on processors without VNNI, and nothing
    tells on which one the student will run.
    """
    cleaned = target.with_suffix(".cleaned.onnx")
    onnx.save(_without_stale_shapes(onnx.load(str(source))), str(cleaned))
    root = logging.getLogger()
    level = root.level
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            root.setLevel(logging.ERROR)  # it advises on the root logger itself
            quantize_dynamic(
                str(cleaned),
                str(target),
                per_channel=per_channel,
                reduce_range=True,
                weight_type=QuantType.QInt8,
            )
    finally:
        root.setLevel(level)
        cleaned.unlink()
    return layers(onnx.load(str(target)))


def layers(model: Any) -> Layers:
    """Find the layers of weights: quantised ones, and those that were silently left as they were.

    A product of two activations, as in attention, has no weights and is none.
    """
    graph = model.graph
    made = {output: node for node in graph.node for output in node.output}
    weights = {entry.name for entry in graph.initializer}
    done = sum(node.op_type in INTEGER for node in graph.node)
    left = [
        node.name or node.output[0]
        for node in graph.node
        if node.op_type in MULTIPLIES
        and any(_constant(one, made, weights) for one in node.input[:2])
    ]
    return Layers(done, tuple(left))


def _constant(name: str, made: dict[str, Any], weights: set[str]) -> bool:
    """Tell whether a value is made of weights alone."""
    while name not in weights:
        node = made.get(name)
        if node is None:
            return False
        if node.op_type == "Constant":
            return True
        if node.op_type not in PASSES:
            return False
        name = node.input[0]
    return True


def _without_stale_shapes(model: Any) -> Any:
    """Drop noted shapes of weights: the quantiser renames those, and would keep the old notes."""
    graph = model.graph
    weights = {entry.name for entry in graph.initializer}
    kept = [entry for entry in graph.value_info if entry.name not in weights]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    return model
