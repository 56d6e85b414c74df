"""Takes due jobs from the queue and runs their passes, a few at a time, only while leading."""

import asyncio
import logging
import time
from datetime import timedelta

from distill_operator import errors
from distill_operator.effects.leadership import Leadership
from distill_operator.effects.metrics import Metrics
from distill_operator.effects.queue import WorkQueue
from distill_operator.handlers.turns import Turn

log = logging.getLogger(__name__)

SOON = 0.1
"""Seconds until a pass is run again after a Conflict."""


class Workers:
    """The outermost door of a pass: whatever goes wrong in it is logged once and tried again."""

    def __init__(
        self,
        queue: WorkQueue,
        reconciler: Turn,
        leadership: Leadership,
        metrics: Metrics,
        limit: int,
    ) -> None:
        self._queue = queue
        self._reconciler = reconciler
        self._leadership = leadership
        self._metrics = metrics
        self._free = asyncio.Semaphore(limit)

    async def run(self) -> None:
        """Hand out keys for ever; when cancelled, running passes are cancelled too."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._leadership.gained()
                await self._free.acquire()
                key, late = await self._queue.next()
                self._metrics.lag.observe(late)
                group.create_task(self._turn(key), name=f"pass {key}")

    async def _turn(self, key: str) -> None:
        started = time.monotonic()
        result = "ok"
        try:
            await self._guarded(key)
        except errors.Conflict:
            result = "conflict"
            self._queue.wake(key, after=SOON)
        except errors.NotLeading:
            result = "not-leading"
            self._queue.retry(key)
        except errors.DistillationError as error:
            result = "error"
            pause = self._queue.retry(key)
            log.warning("pass failed, next try in %.1f s: %s", pause, error, extra=_about(key))
        except Exception:
            result = "bug"
            self._queue.retry(key)
            log.exception("pass failed", extra=_about(key))
        finally:
            self._metrics.passes.labels(result).observe(time.monotonic() - started)
            self._queue.done(key)
            self._free.release()

    async def _guarded(self, key: str) -> None:
        self._leadership.require()
        again: timedelta | None = await self._reconciler.turn(key)
        self._queue.succeeded(key)
        if again is not None:
            self._queue.wake(key, after=max(again.total_seconds(), 0.0))


def _about(key: str) -> dict[str, dict[str, str]]:
    return {"about": {"uid": key}}
