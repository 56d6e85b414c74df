"""Users' queries out of copies of their requests: read, told apart, and kept until they are sent.

Texts stay in memory, at most WAITING of them, and are neither logged nor stored. Of those that were
taken a digest is kept, as a text that comes again is no new sample.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Literal

from distill_api import triton
from pydantic import BaseModel, Field, ValidationError

from distill_server.prober.settings import RERANKED

MOST_BYTES: Final = 262_144
"""Of a request that is read; a query with its documents is far smaller."""
WAITING: Final = 64
"""Queries that wait to be sent; what comes while so many do is dropped."""
MODELS: Final = 4
"""Pairs of models whose texts are remembered: replicas with several models answer by turns."""
PATHS: Final = ("/embeddings", "/rerank", "/infer")
"""Ends of the paths that queries come by."""


class Fate(StrEnum):
    """What became of a copy; a label of a counter."""

    TAKEN = "taken"
    PROBE = "probe"
    UNREADABLE = "unreadable"
    REPEATED = "repeated"
    DROPPED = "dropped"
    ENOUGH = "enough"


@dataclass(frozen=True, slots=True)
class Asked:
    """A user's query, with the documents to rank where the request has them."""

    text: str
    documents: tuple[str, ...] = ()


Text = Annotated[str, Field(min_length=1)]


class _Embedded(BaseModel):
    """A request for one vector of a query: batches, and what calls itself a document, are none."""

    input: Text | Annotated[list[Text], Field(min_length=1, max_length=1)]
    input_type: Literal["query", "search_query"] | None = None
    prompt_name: Literal["query"] | None = None


class _Document(BaseModel):
    text: str


class _Reranked(BaseModel):
    """A request to rank documents: with fewer than two there is nothing to rank."""

    query: Text
    documents: Annotated[list[str | _Document], Field(min_length=2)]


class _Tensor(BaseModel):
    name: str
    data: list[str]


class _Parameters(BaseModel):
    input_type: Literal["query", "search_query"] | None = None


class _Inferred(BaseModel):
    """The same by the Open Inference Protocol, where tensors have the texts."""

    inputs: list[_Tensor]
    parameters: _Parameters = _Parameters()


def opened(body: bytes) -> bytes:
    """Return what another protocol's request would be as ours; ValidationError where it is none."""
    given = {one.name: one.data for one in _Inferred.model_validate_json(body).inputs}
    if triton.TEXT in given:
        return json.dumps({"input": given[triton.TEXT]}).encode()
    (query,) = given.get(triton.QUERY, [""])[:1] or [""]
    return json.dumps({"query": query, "documents": given.get(triton.DOCUMENTS, [])}).encode()


def read(component: str, path: str, body: bytes) -> Asked | None:
    """Return the query of a request; None where it has none that can be read."""
    try:
        body = opened(body) if path.endswith("/infer") else body
        if component != "Reranker":
            given = _Embedded.model_validate_json(body).input
            return Asked(given if isinstance(given, str) else given[0])
        asked = _Reranked.model_validate_json(body)
    except ValidationError:
        return None
    texts = (one if isinstance(one, str) else one.text for one in asked.documents)
    # The same document twice is a tie of a text with itself.
    return Asked(asked.query, tuple(dict.fromkeys(texts))[:RERANKED])


class Inbox:
    """Queries that wait to be sent to both arms."""

    def __init__(self, component: str, most: int, count: Callable[[Fate], None]) -> None:
        self._component, self._most, self._count = component, most, count
        self._waiting: asyncio.Queue[Asked] = asyncio.Queue(WAITING)
        self._seen: set[bytes] = set()
        self._known: dict[str, set[bytes]] = {}

    def take(self, path: str, body: bytes | None, *, probe: bool) -> None:
        """Take in a copy, or count why not. body: None where it was too large to be read."""
        self._count(Fate.PROBE if probe else self._taken(path, body))

    def begin(self, models: str) -> int:
        """Begin a run with two models; returns how many queries it may still bring.

        With other models every text is a new sample. With models that were there before it is none:
        replicas that answer by turns would let each text count with every turn.
        """
        waiting = [self._waiting.get_nowait() for _ in range(self._waiting.qsize())]
        # Those were sent to nobody yet.
        self._seen -= {_digest(asked) for asked in waiting}
        self._seen = self._known.pop(models, set())
        self._known[models] = self._seen
        while len(self._known) > MODELS:
            del self._known[next(iter(self._known))]
        left = self._most - len(self._seen)
        for asked in waiting:
            self._admitted(asked)
        return left

    async def next(self) -> Asked:
        """Wait for a query that was not seen before in this run."""
        return await self._waiting.get()

    def _taken(self, path: str, body: bytes | None) -> Fate:
        asked = read(self._component, path, body) if body and path.endswith(PATHS) else None
        if asked is None or (self._component == "Reranker" and len(asked.documents) < 2):
            return Fate.UNREADABLE
        return self._admitted(asked)

    def _admitted(self, asked: Asked) -> Fate:
        digest = _digest(asked)
        if digest in self._seen:
            return Fate.REPEATED
        if len(self._seen) >= self._most:
            return Fate.ENOUGH
        if self._waiting.full():
            return Fate.DROPPED
        self._seen.add(digest)
        self._waiting.put_nowait(asked)
        return Fate.TAKEN


def _digest(asked: Asked) -> bytes:
    return hashlib.sha256(asked.text.encode("utf-8", "surrogatepass")).digest()
