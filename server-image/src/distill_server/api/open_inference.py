"""The Open Inference Protocol, version 2: texts in as BYTES, numbers out as FP32."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import numpy as np
from distill_api import triton
from numpy.typing import NDArray
from pydantic import BaseModel, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from distill_server.api import prompting
from distill_server.errors import BadRequest
from distill_server.service import Service

type Given = dict[str, list[str]]


class Tensor(BaseModel):
    """An input: texts in a row."""

    name: Literal["text", "query", "documents"]
    shape: list[int]
    datatype: Literal["BYTES"]
    data: list[str]

    @model_validator(mode="after")
    def _whole(self) -> "Tensor":
        if int(np.prod(self.shape)) != len(self.data):
            raise ValueError(
                f"input {self.name} has shape {self.shape} and {len(self.data)} elements: the"
                " product of the shape must be their number"
            )
        return self


class Parameters(BaseModel):
    """What a request says beside its tensors; what means nothing here is ignored."""

    input_type: prompting.InputType | None = None


class Infer(BaseModel):
    """The body of an inference."""

    id: str | None = None
    parameters: Parameters = Parameters()
    inputs: list[Tensor]


async def infer(service: Service, body: Infer, request: Request) -> Response:
    """Answer with `embedding` [texts, width], or `score` [documents, 1] of a reranker.

    Names, types and shapes are those of the Triton repository that a student may come with.
    """
    service.refuse_other_model(request.path_params["model"])
    given: Given = {tensor.name: tensor.data for tensor in body.inputs}
    if service.model.reranker:
        rows, name = await _scores(service, given), triton.SCORE
    else:
        kind = body.parameters.input_type
        rows, name = await _vectors(service, given, kind), triton.EMBEDDING
    return JSONResponse(
        {
            "model_name": service.settings.served_model_name,
            "model_version": "1",
            "id": body.id or request.scope["state"]["request_id"],
            "outputs": [
                {
                    "name": name,
                    "shape": list(rows.shape),
                    "datatype": "FP32",
                    "data": rows.ravel().tolist(),
                }
            ],
        }
    )


async def _vectors(
    service: Service, given: Given, kind: prompting.InputType | None
) -> NDArray[np.float32]:
    if given.keys() != {"text"}:
        raise BadRequest("an embedding model takes exactly one input, named text")
    prompt = prompting.choose(service.model, kind, None)
    return (await service.texts(given["text"], prompt)).rows


async def _scores(service: Service, given: Given) -> NDArray[np.float32]:
    if given.keys() != {"query", "documents"} or len(given["query"]) != 1:
        raise BadRequest("a reranker takes the inputs query, of one element, and documents")
    query = given["query"][0]
    return (await service.texts([(query, one) for one in given["documents"]], None)).rows


async def server(_request: Request) -> Response:
    """Say what this server is."""
    return JSONResponse({"name": "distill_server", "version": _version(), "extensions": []})


async def model(request: Request) -> Response:
    """Say what the model takes and gives."""
    service: Service = request.app.state.service
    service.refuse_other_model(request.path_params["model"])
    texts: dict[str, Any] = {"datatype": "BYTES", "shape": [-1]}
    inputs, output = [{"name": "text", **texts}], {"name": "embedding", "datatype": "FP32"}
    shape = [-1, service.model.width]
    if service.model.reranker:
        inputs = [{"name": "query", **texts, "shape": [1]}, {"name": "documents", **texts}]
        output, shape = {"name": "score", "datatype": "FP32"}, [-1, 1]
    return JSONResponse(
        {
            "name": service.settings.served_model_name,
            "versions": ["1"],
            "platform": service.settings.runtime.value,
            "inputs": inputs,
            "outputs": [{**output, "shape": shape}],
        }
    )


def _version() -> str:
    try:
        return version("kubedistill")
    except PackageNotFoundError:
        return "0"
