"""An ONNX graph in Triton's Python backend: requests of several lengths in one go.

Copied into the model repository, where a Python of Triton's own runs it: numpy and onnxruntime are
all it may know.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sessions
from numpy.typing import NDArray

Rectangles = Mapping[str, NDArray[np.int64]]
"""Tokens by input: [texts, length]."""


class Graph:
    """A graph with one output."""

    def __init__(self, path: Path, *, pad: int, pad_left: bool, threads: int) -> None:
        self._session = sessions.open_graph(path, threads=threads, providers=sessions.preferred())
        self._pads, self._left = {"input_ids": pad}, pad_left

    def compute(self, asked: Sequence[Rectangles]) -> list[Any]:
        """Return the output [texts, width] of each request, in their order.

        Requests of about one length are computed together, so that a long text does not make all
        others as long as itself.
        """
        found: list[Any] = [None] * len(asked)
        for places in self._alike(asked).values():
            made = self._run([asked[place] for place in places])
            begin = 0
            for place in places:
                rows = asked[place]["input_ids"].shape[0]
                found[place] = made[begin : begin + rows]
                begin += rows
        return found

    @staticmethod
    def _alike(asked: Sequence[Rectangles]) -> dict[int, list[int]]:
        groups: dict[int, list[int]] = {}
        for place, one in enumerate(asked):
            groups.setdefault((one["input_ids"].shape[1] - 1).bit_length(), []).append(place)
        return groups

    def _run(self, asked: Sequence[Rectangles]) -> Any:
        length = max(one["input_ids"].shape[1] for one in asked)
        given = {
            name: np.concatenate([self._filled(name, one[name], length) for one in asked])
            for name in asked[0]
        }
        (made,) = self._session.run(None, given)
        return made

    def _filled(self, name: str, rows: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        more = length - rows.shape[1]
        around = ((0, 0), (more, 0) if self._left else (0, more))
        return np.pad(rows, around, constant_values=self._pads.get(name, 0))
