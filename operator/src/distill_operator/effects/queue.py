"""Which objects are due for a pass: each at most once at a time, wake-ups run together."""

import asyncio
import heapq
import random
from collections.abc import Callable
from typing import Final

FIRST_RETRY: Final = 1.0
LONGEST_RETRY: Final = 60.0


class WorkQueue:
    """Keys that are due now or later.

    One key is never handed out twice at the same time; a wake-up during its pass makes it due
    again afterwards.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._busy: set[str] = set()
        self._failures: dict[str, int] = {}
        self._changed = asyncio.Event()

    def wake(self, key: str, *, after: float = 0.0) -> None:
        """Make the key due in so many seconds, or earlier if it is due earlier already."""
        when = self._clock() + after
        if when < self._due.get(key, float("inf")):
            self._due[key] = when
            heapq.heappush(self._heap, (when, key))
            self._changed.set()

    def retry(self, key: str) -> float:
        """Make the key due after a pause that doubles with each failure in a row; return it."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        longest = min(FIRST_RETRY * 2.0 ** min(failures, 16), LONGEST_RETRY)
        pause = longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
        self.wake(key, after=pause)
        return pause

    def succeeded(self, key: str) -> None:
        """Forget the failures of a key."""
        self._failures.pop(key, None)

    def done(self, key: str) -> None:
        """Say that the pass is over, so that the key may be handed out again."""
        self._busy.discard(key)
        if key in self._due:
            heapq.heappush(self._heap, (self._due[key], key))
            self._changed.set()

    def forget(self, key: str) -> None:
        """Remove a key that no longer stands for anything."""
        self._due.pop(key, None)
        self._failures.pop(key, None)

    def clear(self) -> None:
        """Remove all keys: another replica works on them."""
        self._due.clear()
        self._heap.clear()
        self._failures.clear()

    async def next(self) -> tuple[str, float]:
        """Wait for a key that is due; return it and how many seconds late it is handed out."""
        while True:
            self._changed.clear()
            pause = self._pause()
            if pause is not None and pause <= 0:
                when, key = heapq.heappop(self._heap)
                del self._due[key]
                self._busy.add(key)
                return key, self._clock() - when
            await self._wait(pause)

    def _pause(self) -> float | None:
        """Return the seconds until the first entry is due, dropping entries that do not count."""
        while self._heap:
            when, key = self._heap[0]
            if self._due.get(key) == when and key not in self._busy:
                return when - self._clock()
            heapq.heappop(self._heap)
        return None

    async def _wait(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    @property
    def depth(self) -> int:
        """Keys that are due or overdue."""
        now = self._clock()
        return sum(1 for when in self._due.values() if when <= now)
