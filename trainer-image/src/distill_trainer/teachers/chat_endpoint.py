"""A generating teacher behind an OpenAI-compatible server, asked for chat completions."""

import copy
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import httpx
from distill_api.teacher import Endpoint, Sampling

from distill_trainer.teachers import answers, numbered
from distill_trainer.teachers.answers import Answer, Ask, Flaw, Tell
from distill_trainer.teachers.endpoint import Budget, Refused, Server
from distill_trainer.texts import conversation

SERVED: Final = 20
"""Log-probabilities that servers give for each token at most, unless they are told otherwise."""

_REFUSALS: Final = frozenset({httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY})
_TOO_LONG: Final = re.compile(
    r"context[ _]length|context window|maximum model length|max_model_len"
    r"|(?:prompt|input|messages?)\b.{0,40}\btoo (?:long|large|many tokens)",
    re.IGNORECASE | re.DOTALL,
)
"""What servers say of a conversation that the model cannot read to its end."""

log = logging.getLogger(__name__)


class ChatEndpoint:
    """Asks one conversation for each request, as many at once as the endpoint allows."""

    def __init__(
        self,
        endpoint: Endpoint,
        key: str | None,
        sampling: Sampling,
        budget: Budget,
        tokenizer: Any = None,
    ) -> None:
        self.endpoint = endpoint
        self.sampling = sampling
        self.tokenizer = tokenizer
        """The served model's, where the numbers of its tokens are learnt from."""
        self._server = Server(endpoint, key, budget)
        self._most = sampling.top_logprobs
        self._names: dict[str, str | None] = {}
        """Fields of a request that the server wants under another name, or not at all."""
        self._proven = False

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

    def brief(self, tokens: int) -> Self:
        """Return the same server, asked for answers of at most so many tokens."""
        made = copy.copy(self)
        made.sampling = self.sampling.model_copy(update={"max_tokens": tokens})
        return made

    def _ask(self, asked: Ask) -> tuple[Answer, int]:
        most = self._most
        body = self._body(asked, most)
        try:
            found = self._server.ask("chat/completions", body, self._parse)
        except Refused as error:
            if _TOO_LONG.search(error.detail):
                return Answer("", flaw=Flaw.TOO_LONG), 0
            if not self._fewer(error, most) and not self._adapted(error, body):
                raise
            return self._ask(asked)
        self._prove(found[0])
        return found

    def _fewer(self, error: Refused, most: int) -> bool:
        """Ask for fewer log-probabilities from now on; False where that is not what is wrong."""
        if not _too_many(error) or most <= SERVED:
            return False
        log.warning("the teacher's server gives fewer than %d log-probabilities: %d are asked"
                    " for (vLLM gives more with --max-logprobs)", most, SERVED)  # fmt: skip
        self._most = SERVED
        return True

    def _adapted(self, error: Refused, body: Mapping[str, Any]) -> bool:
        """Leave out or rename from now on what a server does not take and need not have.

        OpenAI's reasoning models want max_completion_tokens, others know no seed. body: what was
        refused. False where it holds nothing of that kind.
        """
        if error.code not in _REFUSALS:
            return False
        wanted: dict[str, str | None] = {}
        if "max_tokens" in body and "max_completion_tokens" in error.detail:
            wanted["max_tokens"] = "max_completion_tokens"
        for name in ("seed", *(("top_p",) if self.sampling.top_p == 1 else ())):
            if name in body and re.search(rf"\b{name}\b", error.detail):
                wanted[name] = None
        if wanted:
            log.warning("the teacher's server takes no %s", ", ".join(wanted))
            self._names |= wanted
        return bool(wanted)

    def _prove(self, answer: Answer) -> None:
        """Refuse, at its first answer, a server whose tokens have not the tokenizer's numbers."""
        if self.tokenizer is None or self._proven or answer.flaw is Flaw.EMPTY:
            return
        numbered.check(answer, self.tokenizer, self.endpoint.url)
        self._proven = True

    def _body(self, asked: Ask, most: int) -> dict[str, Any]:
        sampling = self.sampling
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": asked.chat,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": asked.seed % (1 << 31),
        }
        if most:
            body |= {**numbered.ASK, "top_logprobs": most}
        named = {self._names.get(name, name): value for name, value in body.items()}
        return {name: value for name, value in named.items() if name is not None}

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
        ids, cached = numbered.read(choice.get("logprobs"))
        made = Answer(
            text=text,
            thoughts=thoughts,
            flaw=flaw,
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            tokens=int(usage.get("completion_tokens") or 0),
            ids=ids,
            distributions=cached,
        )
        return made, int(usage.get("total_tokens") or made.prompt_tokens + made.tokens)

    def _divided(self, message: dict[str, Any]) -> tuple[str | None, str]:
        """Part reasoning and answer; servers with a reasoning parser do it themselves."""
        text = str(message.get("content") or "")
        given = message.get("reasoning_content") or message.get("reasoning")
        if given or not self.sampling.chain_of_thought:
            return (str(given).strip() if given and self.sampling.chain_of_thought else None), (
                text.strip()
            )
        return conversation.divide(text)


def _too_many(error: Refused) -> bool:
    """Tell whether a server refuses the number of log-probabilities."""
    return error.code in _REFUSALS and "logprobs" in error.detail
