"""The queue between many requests and the one thread that computes."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from distill_common.tokens import Tokens
from numpy.typing import NDArray

from distill_server.batching import forming
from distill_server.errors import NotComputed, Overloaded

type Vector = NDArray[np.float32]
type Compute = Callable[[Sequence[Tokens]], NDArray[np.float32]]

WINDOW = 8
"""Batches' worth of waiting sequences among which neighbours by length are sought."""

log = logging.getLogger(__name__)


class Watcher(Protocol):
    """Who is told about the queue."""

    def waiting(self, sequences: int) -> None:
        """Say how many wait now."""

    def batch(self, sequences: int, tokens: int) -> None:
        """Say that a batch was computed."""


@dataclass(slots=True, eq=False)
class Work:
    """One sequence that waits, and where its answer goes."""

    tokens: Tokens
    answer: asyncio.Future[Vector]


class Queue:
    """Takes sequences, computes them in batches, gives each caller its own rows."""

    def __init__(
        self,
        compute: Compute,
        limits: forming.Limits,
        watcher: Watcher,
        *,
        most: int,
        wait_seconds: float,
    ) -> None:
        self._compute, self._limits, self._watcher = compute, limits, watcher
        self._most, self._wait = most, wait_seconds
        self._works: list[Work] = []
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compute")

    async def compute(self, sequences: Sequence[Tokens]) -> NDArray[np.float32]:
        """Return float32 [len(sequences), width] once all are computed.

        Cancelling takes what still waits out of the queue. Raises Overloaded when there is no
        room for all.
        """
        works = self._enter(sequences)
        try:
            return np.stack(await asyncio.gather(*(work.answer for work in works)))
        finally:
            for work in works:
                work.answer.cancel()
            self._drop_cancelled()

    async def run(self) -> None:
        """Compute batches until cancelled."""
        try:
            while True:
                await self._gather()
                if batch := self._take():
                    await self._answer(batch)
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _enter(self, sequences: Sequence[Tokens]) -> list[Work]:
        if len(self._works) + len(sequences) > self._most:
            raise Overloaded(
                f"{len(self._works)} sequences wait already and at most {self._most} may: try again"
                " later, or give the server more replicas"
            )
        loop = asyncio.get_running_loop()
        works = [Work(tokens, loop.create_future()) for tokens in sequences]
        self._works.extend(works)
        self._watcher.waiting(len(self._works))
        self._arrived.set()
        return works

    async def _gather(self) -> None:
        """Wait for work, and a moment more while it does not fill a batch."""
        while not self._works:
            self._arrived.clear()
            await self._arrived.wait()
        ends = asyncio.get_running_loop().time() + self._wait
        while self._wait and len(self._works) < self._limits.sequences:
            self._arrived.clear()
            try:
                async with asyncio.timeout_at(ends):
                    await self._arrived.wait()
            except TimeoutError:
                return

    def _take(self) -> list[Work]:
        self._drop_cancelled()
        if not self._works:
            return []
        window = self._works[: WINDOW * self._limits.sequences]
        chosen = forming.next_batch([work.tokens.length for work in window], self._limits)
        batch = [window[i] for i in chosen]
        taken = set(map(id, batch))
        self._works = [work for work in self._works if id(work) not in taken]
        self._watcher.waiting(len(self._works))
        return batch

    async def _answer(self, batch: list[Work]) -> None:
        loop = asyncio.get_running_loop()
        sequences = [work.tokens for work in batch]
        try:
            rows = await loop.run_in_executor(self._thread, self._compute, sequences)
            answers = list(zip(batch, rows, strict=True))
        except Exception:
            # Whatever a runtime raises belongs to the callers of this batch; the next may work.
            log.exception("a batch of %d sequences could not be computed", len(batch))
            error = NotComputed("the model failed on this request; the server's log has the reason")
            for work in batch:
                if not work.answer.done():
                    work.answer.set_exception(error)
            return
        for work, row in answers:
            if not work.answer.done():
                work.answer.set_result(row)
        self._watcher.batch(len(batch), sum(one.length for one in sequences))

    def _drop_cancelled(self) -> None:
        self._works = [work for work in self._works if not work.answer.done()]
        self._watcher.waiting(len(self._works))
