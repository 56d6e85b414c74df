"""Whether this replica may write, by its own clock: the yes ends without anybody's help."""

import asyncio
from collections.abc import Callable

from distill_operator import errors


class Leadership:
    """Held until a moment of the monotonic clock, which each renewed lease puts off."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = float("-inf")
        self._gained = asyncio.Event()
        self.reign = 0
        """Counts the times that leading began: a gap in between makes another reign."""

    def hold(self, until: float) -> None:
        """Lead until this moment of the clock."""
        self.reign += not self.held
        self._until = until
        self._gained.set()

    def drop(self) -> None:
        """Stop leading now."""
        self._until = float("-inf")
        self._gained.clear()

    @property
    def held(self) -> bool:
        """Whether this replica leads at this moment."""
        return self._clock() < self._until

    async def gained(self) -> None:
        """Wait until this replica leads."""
        while not self.held:
            self._gained.clear()
            await self._gained.wait()

    def require(self) -> None:
        """Raise NotLeading where this replica may not write."""
        if not self.held:
            raise errors.NotLeading("this replica does not hold the lease: it writes nothing")
