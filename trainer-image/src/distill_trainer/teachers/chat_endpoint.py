"""A generating teacher behind an OpenAI-compatible server, asked for chat completions."""

import logging
from collections.abc import Sequence
from typing import Any, Final

import httpx
from distill_api.teacher import Endpoint, Sampling

from distill_trainer.teachers import answers, numbered
from distill_trainer.teachers.answers import Answer, Ask, Flaw, Tell
from distill_trainer.teachers.endpoint import Budget, Refused, Server
from distill_trainer.texts import conversation

SERVED: Final = 20
"""Log-probabilities that servers give for each token at most, unless they are told otherwise."""

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

    def _ask(self, asked: Ask) -> tuple[Answer, int]:
        most = self._most
        try:
            found = self._server.ask("chat/completions", self._body(asked, most), self._parse)
        except Refused as error:
            if not _too_many(error) or most <= SERVED:
                raise
            log.warning("the teacher's server gives fewer than %d log-probabilities: %d are asked"
                        " for (vLLM gives more with --max-logprobs)", most, SERVED)  # fmt: skip
            self._most = SERVED
            return self._ask(asked)
        self._prove(found[0])
        return found

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
        ids, cached = numbered.read(choice.get("logprobs"))
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


def _too_many(error: Refused) -> bool:
    """Tell whether a server refuses the number of log-probabilities."""
    return error.code in {httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY} and (
        "logprobs" in error.detail
    )
