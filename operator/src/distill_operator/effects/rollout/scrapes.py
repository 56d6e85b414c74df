"""Looks at counters beside the passes, so that a pod which does not answer delays no decision."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp

from distill_operator.effects.rollout import scrape
from distill_operator.effects.rollout.scrape import Wanted
from distill_operator.plan.rollout.model import ObservedMetrics

log = logging.getLogger(__name__)

PAUSE: Final = 1.0
"""Shortest time in seconds between the beginnings of two looks."""
STALE: Final = 10.0
"""Seconds after which the last answer says nothing about now."""


@dataclass(slots=True)
class _Entry:
    mark: object
    """What the numbers are about; those of another step are thrown away."""
    began: float
    task: asyncio.Task[ObservedMetrics]
    wanted: Wanted
    last: tuple[float, ObservedMetrics] | None = None


class Scrapes:
    """One look at a time for each rollout; `wake` is called with its uid when one is done.

    Counters only rise, so handing the same ones to several passes adds nothing.
    """

    def __init__(
        self, wake: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._wake = wake
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._session: aiohttp.ClientSession | None = None

    def begin(self, uid: str, mark: object, wanted: Wanted) -> None:
        """Look again, unless a look is under way or was begun just now."""
        known, now = self._entries.get(uid), self._clock()
        same = known is not None and known.mark == mark
        if known is not None and same and (not known.task.done() or now - known.began < PAUSE):
            return
        if known is not None:
            known.task.cancel()
        task = asyncio.create_task(self._look(wanted), name=f"scrape {uid}")
        entry = _Entry(mark, now, task, wanted, known.last if known is not None and same else None)
        self._entries[uid] = entry
        task.add_done_callback(lambda done: self._finished(uid, entry, done))

    async def _look(self, wanted: Wanted) -> ObservedMetrics:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return await scrape.look(self._session, wanted)

    def _finished(self, uid: str, entry: _Entry, done: asyncio.Task[ObservedMetrics]) -> None:
        if done.cancelled() or self._entries.get(uid) is not entry:
            return
        error = done.exception()
        if error is None:
            entry.last = (self._clock(), done.result())
        else:
            log.error("a look at counters failed", exc_info=error, extra={"about": {"uid": uid}})
            entry.last = (self._clock(), _silent(entry.wanted, f"a look failed: {error!r}"))
        self._wake(uid)

    def take(self, uid: str, mark: object) -> ObservedMetrics:
        """Return the latest numbers about this, or why they are too old; none were asked at first.

        mark: what they have to be about, as given to `begin`.
        """
        entry = self._entries.get(uid)
        if entry is None or entry.mark != mark or entry.last is None:
            return ObservedMetrics(read=False)
        at, found = entry.last
        age = self._clock() - at
        if age <= STALE:
            return found
        return _silent(entry.wanted, f"the last answer is {age:.0f} s old")

    def forget(self, uid: str) -> None:
        """Stop looking for a rollout."""
        entry = self._entries.pop(uid, None)
        if entry is not None:
            entry.task.cancel()

    async def close(self) -> None:
        """Stop everything."""
        for uid in list(self._entries):
            self.forget(uid)
        if self._session is not None:
            await self._session.close()
            self._session = None


def _silent(wanted: Wanted, why: str) -> ObservedMetrics:
    return ObservedMetrics(problems={metric.name: why for metric in wanted.metrics})
