"""From texts to rows: prompt, tokens, queue, within the request's time."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from distill_common.tokens import Text, Tokens
from numpy.typing import NDArray

from distill_server.batching.forming import Limits
from distill_server.batching.queue import Queue
from distill_server.draining import Drain
from distill_server.errors import BadRequest, UnknownModel
from distill_server.models.served import Served
from distill_server.once import Once
from distill_server.settings import Settings
from distill_server.telemetry import Telemetry

VOTES_KEPT = 10_000
"""Answers whose vote is remembered, so that a vote sent again is no second one."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a request asked for."""

    rows: NDArray[np.float32]
    """[inputs, width]."""
    tokens: int


class Service:
    """One model behind one queue."""

    def __init__(
        self, settings: Settings, model: Served, telemetry: Telemetry, drain: Drain
    ) -> None:
        self.settings, self.model, self.telemetry, self.drain = settings, model, telemetry, drain
        self.queue = Queue(
            model.compute,
            Limits(settings.max_batch, settings.max_batch_tokens),
            telemetry,
            most=settings.max_queue,
            wait_seconds=settings.max_wait_ms / 1000,
        )
        self.voters = Once(VOTES_KEPT)
        # One thread: tokenizers keep their truncation as state and refuse to be shared.
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="tokenize")

    async def texts(self, texts: Sequence[Text], prompt: str | None) -> Result:
        """Compute texts, or pairs of query and document."""
        self._refuse_count(len(texts))
        return await self._computed(await self._encoded(texts, prompt))

    async def tokens(self, text: Text, prompt: str | None) -> list[int]:
        """Return the ids that the model would compute with."""
        (found,) = await self._encoded([text], prompt)
        ids: list[int] = found.rows["input_ids"].tolist()
        return ids

    async def given(self, inputs: Sequence[Sequence[int]]) -> Result:
        """Compute tokens that the caller made, special ones included."""
        self._refuse_count(len(inputs))
        return await self._computed([self.model.tokenizer.given(ids) for ids in inputs])

    def refuse_other_model(self, name: str | None) -> None:
        """Raise UnknownModel unless the request means the one that is served."""
        served = self.settings.served_model_name
        if name not in {None, served}:
            raise UnknownModel(f"the model {name!r} is not served here: ask for {served!r}")

    def _refuse_count(self, count: int) -> None:
        most = self.settings.max_inputs
        if not 0 < count <= most:
            raise BadRequest(
                f"the request has {count} inputs and 1 to {most} are taken: divide it into several"
            )

    async def _encoded(self, texts: Sequence[Text], prompt: str | None) -> list[Tokens]:
        loop = asyncio.get_running_loop()
        encode = self.model.tokenizer.encode
        return await loop.run_in_executor(self._tokenizing, encode, texts, prompt)

    async def _computed(self, sequences: Sequence[Tokens]) -> Result:
        rows = await self.queue.compute(sequences)
        return Result(rows, sum(one.length for one in sequences))
