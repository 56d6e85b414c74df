"""Triton's Python backend calls this: texts in as BYTES, tokens out as INT64.

Becomes `model.py` in the repository. A request that cannot be answered is told so and counts as
answered, as in our own server; whatever else goes wrong is raised, and Triton counts a failure.
"""

import json
from pathlib import Path
from typing import Any

import triton_python_backend_utils as triton
from reading import BadRequest, Reader, Settings


class TritonPythonModel:
    """The tokenizer of the student."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the tokenizer, which lies in the student's folder beside the repository."""
        config = json.loads(args["model_config"])
        settings = json.loads(config["parameters"]["reading"]["string_value"])
        self._outputs = [output["name"] for output in config["output"]]
        self._reader = Reader(
            Path(__file__).resolve().parents[3] / "tokenizer.json", Settings(**settings)
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests one by one: Triton forms no batches of texts."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            made = self._made(request)
        except BadRequest as error:
            wrong = triton.TritonError(str(error), triton.TritonError.INVALID_ARG)
            return triton.InferenceResponse(error=wrong)
        return triton.InferenceResponse([triton.Tensor(name, made[name]) for name in self._outputs])

    def _made(self, request: Any) -> Any:
        """Return tensors by name."""
        text = triton.get_input_tensor_by_name(request, "text")
        if text is not None:
            return self._reader.texts(_texts(text), _input_type(request))
        query = _texts(triton.get_input_tensor_by_name(request, "query"))
        if len(query) != 1:
            raise BadRequest(f"the input query has {len(query)} elements: give exactly one")
        documents = triton.get_input_tensor_by_name(request, "documents")
        return self._reader.pairs(query[0], _texts(documents))


def _texts(tensor: Any) -> list[str]:
    try:
        return [bytes(entry).decode() for entry in tensor.as_numpy().ravel()]
    except UnicodeDecodeError as error:
        raise BadRequest(f"a text is not written in UTF-8: {error}") from error


def _input_type(request: Any) -> str | None:
    found = json.loads(request.parameters() or "{}").get("input_type")
    if found is not None and not isinstance(found, str):
        raise BadRequest("the parameter input_type is no text: use query or document")
    return found
