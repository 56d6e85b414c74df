"""Two ways to compute a batch: torch, and ONNX Runtime."""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from distill_common import sessions
from distill_common.tokens import Integers
from numpy.typing import NDArray

from distill_server.errors import BadModel
from distill_server.models import pipeline
from distill_server.models.loading import Loaded

type Features = dict[str, Integers]

OUTPUTS = (pipeline.EMBEDDING, pipeline.SCORE, "token_embeddings", "last_hidden_state", "logits")
"""Outputs that are understood, in the order of preference."""


class Runtime(Protocol):
    """What turns a rectangle of tokens into vectors or scores."""

    def compute(self, features: Features) -> NDArray[np.float32]:
        """Return float32 [batch, width]."""


class Torch:
    """The model as it is, on the processor or a GPU."""

    def __init__(self, model: Loaded) -> None:
        self._model = model

    @torch.inference_mode()
    def compute(self, features: Features) -> NDArray[np.float32]:
        """Return float32 [batch, width]."""
        device = self._model.device
        tensors = {name: torch.from_numpy(row).to(device) for name, row in features.items()}
        found = pipeline.finish(self._model, self._model(tensors))
        made: NDArray[np.float32] = found.float().cpu().numpy()
        return made


class Onnx:
    """A graph in ONNX Runtime, and in torch what the graph leaves to do."""

    def __init__(self, graph: Path, model: Loaded, *, threads: int) -> None:
        self._session = sessions.open_graph(graph, threads=threads, providers=sessions.preferred())
        self._inputs = [entry.name for entry in self._session.get_inputs()]
        self._output = _output(graph, [entry.name for entry in self._session.get_outputs()])
        whole = self._output in {pipeline.EMBEDDING, pipeline.SCORE}
        self._rest: Loaded | None = None if whole else model
        _refuse_unknown_inputs(graph, self._inputs)

    @torch.inference_mode()
    def compute(self, features: Features) -> NDArray[np.float32]:
        """Return float32 [batch, width]."""
        zeros = np.zeros_like(features["input_ids"])
        given = {name: features.get(name, zeros) for name in self._inputs}
        (found,) = self._session.run([self._output], given)
        if self._rest is None:
            return np.asarray(found, dtype=np.float32)
        body, mask = torch.from_numpy(found), torch.from_numpy(features["attention_mask"])
        made: NDArray[np.float32] = pipeline.tail(self._rest, body, mask).float().numpy()
        return made


def _output(graph: Path, outputs: list[str]) -> str:
    for name in OUTPUTS:
        if name in outputs:
            return name
    raise BadModel(
        f"{graph} has the outputs {', '.join(outputs)}; one of {', '.join(OUTPUTS)} is expected:"
        " export it anew, or remove it and this server makes its own"
    )


def _refuse_unknown_inputs(graph: Path, inputs: list[str]) -> None:
    known = {"input_ids", "attention_mask", "token_type_ids"}
    if unknown := set(inputs) - known:
        raise BadModel(
            f"{graph} wants the inputs {', '.join(sorted(unknown))} too; only"
            f" {', '.join(sorted(known))} are given: export it anew, or remove it"
        )
