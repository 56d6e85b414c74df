"""Opens ONNX graphs in ONNX Runtime, as fast as it goes on what there is.

Copied into Triton repositories, where nothing of ours and only onnxruntime is there.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import onnxruntime

PROCESSOR: Final = "CPUExecutionProvider"
SLOW_ON_PROCESSORS: Final = ("SkipLayerNormFusion",)
"""Rewritings that cost more than they save there: the fused kernel is several times slower than the
sum and the normalising that it stands for (an INT8 MiniLM: 114 ms a batch with it, 97 without)."""


def preferred() -> list[str]:
    """Return the kinds of devices to compute on: a GPU where this build of ONNX Runtime has one."""
    available = onnxruntime.get_available_providers()
    return [name for name in ("CUDAExecutionProvider", PROCESSOR) if name in available]


def open_graph(
    graph: Path, *, threads: int, providers: Sequence[str] = (PROCESSOR,)
) -> onnxruntime.InferenceSession:
    """Return a session of a graph.

    threads: of one operator. providers: kinds of devices, the preferred one first.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    left_out = SLOW_ON_PROCESSORS if tuple(providers) == (PROCESSOR,) else ()
    return onnxruntime.InferenceSession(
        str(graph), options, providers=list(providers), disabled_optimizers=list(left_out)
    )
