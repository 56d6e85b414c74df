"""When the next query is sent: evenly, and ever more seldom while nothing comes back."""

import asyncio
from typing import Final

LONGEST: Final = 60.0
"""Seconds between two tries of arms that do not answer."""
ALARMING: Final = 3
"""Failures in a row after which nothing is being measured."""


class Pace:
    """Intervals between queries."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next = 0.0
        self._failures = 0
        self._last = ""

    async def turn(self) -> None:
        """Wait until the next query is due."""
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(self._next - now)
        self._next = max(self._next, now) + self.pause

    @property
    def pause(self) -> float:
        """Seconds between two queries."""
        if not self._failures:
            return self._interval
        return max(self._interval, min(LONGEST, 2.0 ** min(self._failures - 1, 16)))

    def worked(self) -> None:
        """Go on as fast as was asked for."""
        self._failures = 0

    def failed(self, why: str) -> None:
        """Go slower."""
        self._failures, self._last = self._failures + 1, why

    @property
    def failing(self) -> str | None:
        """Why nothing can be measured, if so."""
        if self._failures < ALARMING:
            return None
        return f"the last {self._failures} queries brought no pair: {self._last}"
