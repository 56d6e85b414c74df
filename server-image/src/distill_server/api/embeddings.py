"""POST /v1/embeddings as OpenAI has it, with the prompts that embedding models need."""

import base64
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, field_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from distill_server.api import prompting
from distill_server.errors import BadRequest
from distill_server.service import Result, Service


class Embeddings(BaseModel):
    """The body; what OpenAI has and means nothing here (user) is ignored."""

    input: list[str] | list[list[int]]
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)
    input_type: prompting.InputType | None = None
    prompt_name: str | None = None

    @field_validator("input", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        """Take one text, or the tokens of one, for a list of one; and say what is expected."""
        one_text = isinstance(value, str)
        one_row = isinstance(value, list) and bool(value) and isinstance(value[0], int)
        several = [value] if one_text or one_row else value
        kinds = {type(entry) for entry in several} if isinstance(several, list) else set()
        if len(kinds) != 1 or not kinds <= {str, list} or "" in several:
            raise ValueError(
                "expected is a text that is not empty, a list of such texts, or one or several"
                " lists of tokens"
            )
        return several


async def embeddings(service: Service, body: Embeddings, _request: Request) -> Response:
    """Answer with one vector for each input, in their order."""
    service.refuse_other_model(body.model)
    if service.model.reranker:
        raise BadRequest("the model is a reranker and makes no embeddings: use /v1/rerank")
    refuse_width(body.dimensions, service.model.width)
    found = await _computed(service, body)
    write = _base64 if body.encoding_format == "base64" else _floats
    data = [
        {"object": "embedding", "index": index, "embedding": write(row)}
        for index, row in enumerate(cut(found.rows, body.dimensions))
    ]
    usage = {"prompt_tokens": found.tokens, "total_tokens": found.tokens}
    name = service.settings.served_model_name
    return JSONResponse({"object": "list", "data": data, "model": name, "usage": usage})


async def _computed(service: Service, body: Embeddings) -> Result:
    texts = [entry for entry in body.input if isinstance(entry, str)]
    if texts:
        prompt = prompting.choose(service.model, body.input_type, body.prompt_name)
        return await service.texts(texts, prompt)
    return await service.given([entry for entry in body.input if not isinstance(entry, str)])


def refuse_width(dimensions: int | None, width: int) -> None:
    """Raise BadRequest for more than the model has."""
    if dimensions is not None and dimensions > width:
        raise BadRequest(
            f"dimensions is {dimensions} and the model's embeddings have {width}: ask for 1 to"
            f" {width}"
        )


def cut(rows: NDArray[np.float32], dimensions: int | None) -> NDArray[np.float32]:
    """Keep the first dimensions of [inputs, width], brought to length 1 again where cut."""
    if dimensions is None or dimensions == rows.shape[1]:
        return rows
    kept = rows[:, :dimensions]
    length = np.linalg.norm(kept, axis=1, keepdims=True)
    return np.asarray(kept / np.maximum(length, np.finfo(np.float32).tiny), dtype=np.float32)


def _base64(row: NDArray[np.float32]) -> str:
    """Write float32 in little-endian order, as OpenAI's clients read it."""
    return base64.b64encode(row.astype("<f4").tobytes()).decode("ascii")


def _floats(row: NDArray[np.float32]) -> list[float]:
    numbers: list[float] = row.tolist()
    return numbers
