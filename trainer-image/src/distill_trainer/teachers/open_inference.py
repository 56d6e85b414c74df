"""A teacher behind Triton or another server of the Open Inference Protocol, asked over HTTP.

By the same client as the OpenAI-compatible ones, for its rate, patience and errors: Triton's own
has none of these, and the protocol is JSON either way.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from distill_api import triton
from numpy.typing import NDArray

from distill_trainer.teachers.endpoint import EndpointTeacher, Server
from distill_trainer.teachers.scoring import EndpointScorer

NUMBERS: Final = ("FP16", "FP32", "FP64")


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives."""

    texts: Mapping[str, int]
    """Its inputs for texts, with the number of their dimensions: 2 with a batch one."""
    output: str
    """Its first output of numbers."""


class Asked:
    """A model that is asked for its tensors once."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._path = f"v2/models/{server.endpoint.model}"
        self._lock = threading.Lock()
        self._found: Signature | None = None

    def signature(self) -> Signature:
        """Return what the model takes and gives."""
        with self._lock:
            if self._found is not None:
                return self._found
            made, _ = self._server.ask(self._path, None, _signature)
            self._found = made
            return made

    def infer(self, texts: Mapping[str, list[str]], count: int) -> NDArray[np.float32]:
        """Return the output's rows [count, width]; texts: by input.

        Raises TryAgain or BadInput as the server's answers mean.
        """
        known = self.signature()
        if known.texts.keys() != texts.keys():
            raise self._server.strange(
                self._path,
                f"its inputs for texts are {', '.join(known.texts) or 'none'}, and"
                f" {', '.join(texts)} would be given",
            )
        inputs = [_tensor(name, own, known.texts[name]) for name, own in texts.items()]
        rows, _ = self._server.ask(
            f"{self._path}/infer",
            {"inputs": inputs},
            lambda answer: (_rows(answer, known.output, count), 0),
        )
        return rows


class OpenInferenceTeacher(EndpointTeacher):
    """Gives embeddings in the texts' order; a server of this protocol counts no tokens."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._asked = Asked(self._server)

    def _ask(self, batch: list[str]) -> tuple[Any, int]:
        found = self._asked.infer({self._input: batch}, len(batch))
        wanted = self.endpoint.dimension
        if wanted is not None and found.shape[1] != wanted:
            raise self._server.strange(
                f"v2/models/{self.endpoint.model}/infer",
                f"width {found.shape[1]} instead of dimension {wanted}",
            )
        return found, 0

    @property
    def _input(self) -> str:
        """Name the model's only input for texts, whatever it is called."""
        texts = self._asked.signature().texts
        return next(iter(texts)) if len(texts) == 1 else triton.TEXT


class OpenInferenceScorer(EndpointScorer):
    """Scores pairs by a model that takes a query and its documents."""

    def __init__(self, server: Server, *given: Any) -> None:
        super().__init__(server, *given)
        self._asked = Asked(server)

    def _ask(self, query: str, documents: list[str]) -> tuple[NDArray[np.float32], int]:
        given = {triton.QUERY: [query], triton.DOCUMENTS: documents}
        found = self._asked.infer(given, len(documents))
        return found[:, 0], 0


def _signature(answer: Any) -> tuple[Signature, int]:
    texts = {
        one["name"]: len(one["shape"]) for one in answer["inputs"] if one["datatype"] == "BYTES"
    }
    outputs = [one["name"] for one in answer["outputs"] if one["datatype"] in NUMBERS]
    if not outputs:
        raise ValueError(f"the model gives no output of {', '.join(NUMBERS)}")
    return Signature(texts, outputs[0]), 0


def _tensor(name: str, texts: list[str], dimensions: int) -> dict[str, Any]:
    shape = [len(texts)] if dimensions == 1 else [len(texts), 1]
    return {"name": name, "shape": shape, "datatype": "BYTES", "data": texts}


def _rows(answer: Any, name: str, count: int) -> NDArray[np.float32]:
    output = next(one for one in answer["outputs"] if one["name"] == name)
    rows = np.asarray(output["data"], dtype=np.float32).reshape(count, -1)
    if not np.isfinite(rows).all():
        raise ValueError(f"the output {name} has numbers that are not finite")
    return rows
