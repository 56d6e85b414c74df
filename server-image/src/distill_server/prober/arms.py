"""One arm as a client: vectors, scores and texts with the digest of the model that made them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

import httpx
import numpy as np
from distill_api.probing import DIGEST_HEADER, PROBE_HEADER
from numpy.typing import NDArray

UNNAMED: Final = "unnamed"
"""Digest of a model whose server does not tell."""
WRITE_PATH: Final = "/invocations"
"""Where vLLM answers conversations, beside /v1/chat/completions."""

type Numbers = NDArray[np.float32]


class Why(StrEnum):
    """Why an arm gave no answer; a label of a counter, so there are few."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    REFUSED = "4xx"
    FAILED = "5xx"
    UNREADABLE = "unreadable"


class ArmFailed(Exception):
    """A request that brought nothing.

    quoted: what the arm said. It may repeat the text that it was asked, so it is no part of
    `sentence`, which is for users' queries.
    """

    def __init__(self, arm: str, why: Why, detail: str, quoted: str = "") -> None:
        self.arm, self.why = arm, why
        self.sentence = f"the {arm} gave no answer: {detail}"
        super().__init__(f"{self.sentence}: {quoted}" if quoted else self.sentence)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an arm computed: [texts, width] for vectors, [documents] for scores."""

    values: Numbers
    digest: str


@dataclass(frozen=True, slots=True)
class Text:
    """What an arm wrote."""

    content: str
    digest: str


class Arm:
    """Teacher or student behind its URL."""

    def __init__(self, client: httpx.AsyncClient, name: str, url: str, model: str) -> None:
        self._client, self.name, self._url, self._model = client, name, url.rstrip("/"), model

    async def embed(self, texts: Sequence[str], kind: Literal["query", "document"]) -> Answer:
        """Return a vector for each text; the server puts the model's own prompt before it."""
        body = {"model": self._model, "input": list(texts), "input_type": kind}
        found, digest = await self._post("/v1/embeddings", body)
        try:
            ordered = sorted(found["data"], key=lambda one: one["index"])
            vectors = np.array([one["embedding"] for one in ordered], dtype=np.float32)
            return Answer(self._whole(vectors, (len(texts), vectors.shape[1])), digest)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise self._unreadable(error) from error

    async def rerank(self, query: str, documents: Sequence[str]) -> Answer:
        """Return a score for each document."""
        body = {"model": self._model, "query": query, "documents": list(documents)}
        found, digest = await self._post("/v1/rerank", body)
        try:
            scores = np.full(len(documents), np.nan, dtype=np.float32)
            for one in found["results"]:
                scores[one["index"]] = one["relevance_score"]
            return Answer(self._whole(scores, (len(documents),)), digest)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise self._unreadable(error) from error

    async def write(self, messages: Sequence[Mapping[str, str]], *, most: int) -> Text:
        """Return what a model that writes says next, its likeliest words, of `most` tokens.

        By the path under which vLLM takes the same requests as at /v1/chat/completions: its
        counters know paths only, and what the prober asks is no user's request.
        """
        body = {"model": self._model, "messages": list(messages)}
        found, digest = await self._post(WRITE_PATH, {**body, "temperature": 0, "max_tokens": most})
        try:
            # Null where a model ends at once.
            return Text(found["choices"][0]["message"]["content"] or "", digest)
        except (KeyError, TypeError, IndexError) as error:
            raise self._unreadable(error) from error

    async def _post(self, path: str, body: dict[str, Any]) -> tuple[Any, str]:
        answer = await self._sent("POST", path, body)
        if answer.status_code != httpx.codes.OK:
            why = Why.FAILED if answer.is_server_error else Why.REFUSED
            detail = f"{path} answered {answer.status_code}"
            raise ArmFailed(self.name, why, detail, answer.text[:200])
        try:
            return answer.json(), answer.headers.get(DIGEST_HEADER) or UNNAMED
        except ValueError as error:
            raise self._unreadable(error) from error

    async def _sent(self, verb: str, path: str, body: Any = None) -> httpx.Response:
        try:
            return await self._client.request(
                verb, f"{self._url}{path}", json=body, headers={PROBE_HEADER: "true"}
            )
        except httpx.TimeoutException as error:
            raise ArmFailed(self.name, Why.TIMEOUT, f"{path} took too long") from error
        except httpx.HTTPError as error:
            raise ArmFailed(self.name, Why.UNREACHABLE, f"{type(error).__name__}") from error

    @staticmethod
    def _whole(values: Numbers, shape: tuple[int, ...]) -> Numbers:
        if values.shape != shape or not np.isfinite(values).all():
            raise ValueError(f"expected finite numbers of shape {shape}, got {values.shape}")
        return values

    def _unreadable(self, error: Exception) -> ArmFailed:
        return ArmFailed(self.name, Why.UNREADABLE, "the answer is none", repr(error)[:250])
