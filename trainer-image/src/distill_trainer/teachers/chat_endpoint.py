"""A generating teacher behind an OpenAI-compatible server, asked for chat completions."""

import math
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from distill_api.sources import Endpoint, Sampling

from distill_trainer.teachers import answers
from distill_trainer.teachers.answers import Answer, Ask, Distributions, Tell
from distill_trainer.teachers.endpoint import Budget, Server
from distill_trainer.texts import conversation

SERVED: Final = 20
"""Log-probabilities that servers give for each token at most, unless they are told otherwise."""
_TOKEN_ID: Final = re.compile(r"^token_id:(\d+)$")


class ChatEndpoint:
    """Asks one conversation for each request, as many at once as the endpoint allows."""

    def __init__(
        self, endpoint: Endpoint, key: str | None, sampling: Sampling, budget: Budget
    ) -> None:
        self.endpoint = endpoint
        self.sampling = sampling
        self._server = Server(endpoint, key, budget)

    def answer(self, asked: Sequence[Ask], tell: Tell | None = None) -> list[Answer]:
        """Answer conversations; raises TryAgain or BadInput as the server's answers mean."""
        found: list[Answer] = []
        for one, tokens in self._server.pool.map(self._ask, asked):
            found.append(one)
            if tell is not None:
                tell(1, tokens)
        return found

    def close(self) -> None:
        """Close connections."""
        self._server.close()

    def _ask(self, asked: Ask) -> tuple[Answer, int]:
        return self._server.ask("chat/completions", self._body(asked), self._parse)

    def _body(self, asked: Ask) -> dict[str, Any]:
        sampling = self.sampling
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": asked.chat,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": asked.seed % (1 << 31),
        }
        if sampling.top_logprobs:
            body |= {
                "logprobs": True,
                "top_logprobs": min(sampling.top_logprobs, SERVED),
                # vLLM then names tokens by number; other servers ignore it.
                "return_tokens_as_token_ids": True,
            }
        return body

    def _parse(self, told: Any) -> tuple[Answer, int]:
        choice = told["choices"][0]
        message = choice["message"]
        usage = told.get("usage") or {}
        thoughts, text = self._divided(message)
        finish = choice.get("finish_reason")
        flaw = answers.judged(
            text,
            truncated=finish == "length",
            refused=bool(message.get("refusal")) or finish == "content_filter",
            reasoning=bool(thoughts) or not self.sampling.chain_of_thought,
        )
        ids, cached = _distributions(choice.get("logprobs"))
        made = Answer(
            text=text,
            thoughts=thoughts,
            flaw=flaw,
            prompt_tokens=int(usage.get("prompt_tokens", 0)),
            tokens=int(usage.get("completion_tokens", 0)),
            ids=ids,
            distributions=cached,
        )
        return made, int(usage.get("total_tokens", made.prompt_tokens + made.tokens))

    def _divided(self, message: dict[str, Any]) -> tuple[str | None, str]:
        """Part reasoning and answer; servers with a reasoning parser do it themselves."""
        text = str(message.get("content") or "")
        given = message.get("reasoning_content") or message.get("reasoning")
        if given or not self.sampling.chain_of_thought:
            return (str(given).strip() if given and self.sampling.chain_of_thought else None), (
                text.strip()
            )
        return conversation.divide(text)


def _distributions(
    told: dict[str, Any] | None,
) -> tuple["np.ndarray[Any, np.dtype[np.uint32]] | None", Distributions | None]:
    """Read log-probabilities of numbered tokens; none where tokens are named by their text.

    A text does not tell which token it is, so such log-probabilities cannot be learnt from.
    """
    rows = (told or {}).get("content") or []
    if not rows or not all(_TOKEN_ID.match(str(row["token"])) for row in rows):
        return None, None
    ids = np.array([_number(row["token"]) for row in rows], dtype=np.uint32)
    if any(not row.get("top_logprobs") for row in rows):
        return ids, None
    width = max(len(row["top_logprobs"]) for row in rows)
    top_ids = np.zeros((len(rows), width), dtype=np.uint32)
    logprobs = np.full((len(rows), width), -np.inf, dtype=np.float32)
    for place, row in enumerate(rows):
        for column, one in enumerate(row["top_logprobs"]):
            top_ids[place, column] = _number(one["token"])
            logprobs[place, column] = one["logprob"]
    tail = [_tail(row) for row in logprobs]
    return ids, Distributions(top_ids, logprobs.astype(np.float16), np.array(tail, np.float32))


def _number(token: str) -> int:
    found = _TOKEN_ID.match(token)
    if found is None:
        raise ValueError(f"token {token!r} among numbered ones has no number")
    return int(found.group(1))


def _tail(logprobs: "np.ndarray[Any, np.dtype[np.float32]]") -> float:
    """Log of the mass of what is not listed; -inf where nothing is left, rounding included."""
    rest = 1.0 - float(np.exp(logprobs[np.isfinite(logprobs)].astype(np.float64)).sum())
    return math.log(rest) if rest > 1e-9 else -math.inf
