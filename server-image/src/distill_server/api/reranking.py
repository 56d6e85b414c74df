"""POST /rerank in the form that vLLM, Jina and Cohere share."""

from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from distill_server.errors import BadRequest
from distill_server.service import Service


class Document(BaseModel):
    """A document as an object, which older clients send."""

    text: str


class Rerank(BaseModel):
    """The body."""

    query: Annotated[str, Field(min_length=1)]
    documents: Annotated[list[str | Document], Field(min_length=1)]
    model: str | None = None
    top_n: int | None = Field(None, ge=1)
    return_documents: bool = False


async def rerank(service: Service, body: Rerank, request: Request) -> Response:
    """Answer with the documents' scores, best first."""
    service.refuse_other_model(body.model)
    refuse_embedding_model(service)
    texts = [one if isinstance(one, str) else one.text for one in body.documents]
    found = await service.texts([(body.query, text) for text in texts], None)
    scores = found.rows[:, 0]
    order = np.argsort(-scores, kind="stable")[: body.top_n]
    return JSONResponse(
        {
            "id": request.scope["state"]["request_id"],
            "model": service.settings.served_model_name,
            "results": [
                _result(int(index), float(scores[index]), texts[index], told=body.return_documents)
                for index in order
            ],
            "usage": {"prompt_tokens": found.tokens, "total_tokens": found.tokens},
        }
    )


def refuse_embedding_model(service: Service) -> None:
    """Raise BadRequest where the model gives no scores."""
    if not service.model.reranker:
        raise BadRequest("the model makes embeddings and is no reranker: use /v1/embeddings")


def _result(index: int, score: float, text: str, *, told: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"index": index, "relevance_score": score}
    return found | ({"document": {"text": text}} if told else {})
