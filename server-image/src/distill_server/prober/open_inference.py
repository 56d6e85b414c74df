"""One arm that speaks the Open Inference Protocol, as Triton does.

A repository of ours has the model under a second name for the prober, as Triton counts by model and
would take its requests for those of users.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import httpx
import numpy as np
from distill_api import triton

from distill_server.prober.arms import UNNAMED, Answer, Arm

FEW: Final = 16
"""Texts in a request to a server that does not say how many it takes."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What a server says of the model before it is asked."""

    name: str
    digest: str = UNNAMED
    most: int = FEW
    """Texts in one request at most."""


class OpenInferenceArm(Arm):
    """Teacher or student behind its URL."""

    async def embed(self, texts: Sequence[str], kind: Literal["query", "document"]) -> Answer:
        """Return a vector for each text; the server puts the model's own prompt before it."""
        known = await self._known()
        found = [
            await self._infer(known, {triton.TEXT: part}, {triton.INPUT_TYPE: kind})
            for part in _parts(texts, known.most)
        ]
        try:
            rows = [_rows(one, triton.EMBEDDING) for one in found]
            vectors = np.concatenate(rows)
            return Answer(self._whole(vectors, (len(texts), vectors.shape[1])), known.digest)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise self._unreadable(error) from error

    async def rerank(self, query: str, documents: Sequence[str]) -> Answer:
        """Return a score for each document."""
        known = await self._known()
        found = [
            await self._infer(known, {triton.QUERY: [query], triton.DOCUMENTS: part}, {})
            for part in _parts(documents, known.most)
        ]
        try:
            scores = np.concatenate([_rows(one, triton.SCORE).ravel() for one in found])
            return Answer(self._whole(scores, (len(documents),)), known.digest)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise self._unreadable(error) from error

    async def _known(self) -> _Known:
        """Ask for the model's configuration, before every request: pods come and go."""
        name = f"{self._model}{triton.PROBE}"
        answer = await self._sent("GET", f"/v2/models/{name}/config")
        if answer.status_code != httpx.codes.OK:
            return _Known(self._model)
        try:
            own = answer.json()["parameters"]
            weights, most = (own[key]["string_value"] for key in (triton.WEIGHTS, triton.MOST))
            return _Known(name, weights, int(most))
        except (KeyError, TypeError, ValueError) as error:
            raise self._unreadable(error) from error

    async def _infer(
        self, known: _Known, texts: dict[str, Sequence[str]], parameters: dict[str, str]
    ) -> Any:
        inputs = [
            {"name": name, "shape": [len(own)], "datatype": "BYTES", "data": list(own)}
            for name, own in texts.items()
        ]
        body = {"inputs": inputs, "parameters": parameters}
        return (await self._post(f"/v2/models/{known.name}/infer", body))[0]


def _parts(texts: Sequence[str], most: int) -> list[Sequence[str]]:
    return [texts[begin : begin + most] for begin in range(0, len(texts), most)]


def _rows(answer: Any, name: str) -> Any:
    (output,) = (one for one in answer["outputs"] if one["name"] == name)
    return np.array(output["data"], dtype=np.float32).reshape(output["shape"])
