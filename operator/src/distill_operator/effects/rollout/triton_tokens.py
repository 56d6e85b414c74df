"""What a Triton server reads of texts: a model of our repository makes tokens for others to see."""

from typing import Annotated, Any, Final

import aiohttp
from distill_api import triton
from distill_api.token_ids import Sample, TextKind
from pydantic import BaseModel, Field

from distill_operator.effects.rollout import fetch

_MODEL: Final = f"/v2/models/{triton.TOKENS}"
ABSENT: Final = (
    f"its Triton has no model {triton.TOKENS}, as the repository that export.tritonRepository of a"
    " DistillationJob writes"
)
"""Why nothing can be compared."""
INPUT_TYPES: Final = {TextKind.QUERY: "query", TextKind.DOCUMENT: "document"}


class _Parameter(BaseModel):
    string_value: str


class _Settings(BaseModel):
    parameters: dict[str, _Parameter]


class _Output(BaseModel):
    name: str
    data: list[int]


class _Answer(BaseModel):
    outputs: Annotated[list[_Output], Field(min_length=2)]


async def trained(session: aiohttp.ClientSession, place: str) -> str:
    """Return the file of what was read in training; Nowhere where the repository is none of ours.

    place: base URL of the server's requests.
    """
    text = await fetch.text(session, f"{place}{_MODEL}/config")
    if not text:
        # The port of the metrics answers every path, with nothing.
        raise fetch.Nowhere(ABSENT)
    settings = fetch.read(_Settings, text)
    found = settings.parameters.get(triton.TOKEN_IDS)
    if found is None:
        raise fetch.Nowhere(ABSENT)
    return found.string_value


async def read(session: aiohttp.ClientSession, place: str, sample: Sample) -> list[int]:
    """Return the ids that the server reads of a text."""
    content = _question(sample)
    answer = fetch.read(
        _Answer, await fetch.text(session, f"{place}{_MODEL}/infer", content=content)
    )
    rows = {output.name: output.data for output in answer.outputs}
    kept = zip(rows[triton.INPUT_IDS], rows[triton.ATTENTION_MASK], strict=True)
    return [token for token, real in kept if real]


def _question(sample: Sample) -> dict[str, Any]:
    if sample.kind is TextKind.PAIR:
        return {"inputs": [_tensor("query", sample.query or ""), _tensor("documents", sample.text)]}
    kind = {triton.INPUT_TYPE: INPUT_TYPES[sample.kind]}
    return {"inputs": [_tensor("text", sample.text)], "parameters": kind}


def _tensor(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "shape": [1], "datatype": "BYTES", "data": [text]}
