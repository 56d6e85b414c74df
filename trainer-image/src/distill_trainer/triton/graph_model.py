"""Triton's Python backend calls this: tokens in, embeddings or scores out.

Becomes `model.py` in the repository where the server has no ONNX Runtime backend.
"""

import json
from pathlib import Path
from typing import Any

import triton_python_backend_utils as triton
from computing import Graph
from cores import usable


class TritonPythonModel:
    """The student's graph."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the graph, which lies in the student's folder beside the repository."""
        config = json.loads(args["model_config"])
        own = json.loads(config["parameters"]["computing"]["string_value"])
        self._inputs = [entry["name"] for entry in config["input"]]
        self._output = config["output"][0]["name"]
        copies = sum(int(group["count"]) for group in config["instance_group"]) or 1
        self._graph = Graph(
            Path(__file__).resolve().parents[3] / own["graph"],
            pad=own["pad"],
            pad_left=own["pad_left"],
            threads=max(1, usable() // copies),
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Compute what Triton has put in one batch."""
        asked = [
            {name: triton.get_input_tensor_by_name(one, name).as_numpy() for name in self._inputs}
            for one in requests
        ]
        return [
            triton.InferenceResponse([triton.Tensor(self._output, made)])
            for made in self._graph.compute(asked)
        ]
