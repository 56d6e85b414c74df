"""What the model reads of a text, and what it read in training: so that both can be compared."""

from typing import Annotated, Literal

from distill_api.token_ids import TOKEN_IDS_FILE
from distill_common.tokens import Text
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from distill_server.api import prompting
from distill_server.errors import BadRequest, NoTokenIds
from distill_server.service import Service


class Tokenize(BaseModel):
    """The body, in vLLM's words; input_type, prompt_name and query are for what is served here."""

    prompt: str
    """The text; of a reranker's pair the document."""
    model: str | None = None
    add_special_tokens: Literal[True] = True
    input_type: prompting.InputType | None = None
    prompt_name: str | None = None
    query: Annotated[str, Field(min_length=1)] | None = None


async def tokenize(service: Service, body: Tokenize, _request: Request) -> Response:
    """Answer with the ids that the model computes with: prompted, and cut at its longest input.

    vLLM does not cut here. A client learns more from what really goes into the model.
    """
    service.refuse_other_model(body.model)
    prompt = prompting.choose(service.model, body.input_type, body.prompt_name)
    ids = await service.tokens(_text(service, body), None if service.model.reranker else prompt)
    return JSONResponse(
        {"count": len(ids), "max_model_len": service.model.tokenizer.longest, "tokens": ids}
    )


async def trained(request: Request) -> Response:
    """Hand over the tokens of training, as the artifact has them."""
    service: Service = request.app.state.service
    path = service.settings.model / TOKEN_IDS_FILE
    if not path.is_file():
        raise NoTokenIds(
            f"the model has no {TOKEN_IDS_FILE}, in which its training would have left what it"
            " read of a few texts: nothing can be compared"
        )
    return Response(path.read_bytes(), media_type="application/json")


def _text(service: Service, body: Tokenize) -> Text:
    if service.model.reranker:
        if body.query is None:
            raise BadRequest("the model reads pairs: give the query as well, with the document")
        return body.query, body.prompt
    if body.query is not None:
        raise BadRequest("the model makes embeddings and reads no pairs: leave query out")
    return body.prompt
