"""From SIGTERM to exit: unready at once, serving for a while, then finishing what was begun."""

import signal
import time
from types import FrameType
from typing import ClassVar

import uvicorn


class Drain:
    """Whether the server is on its way out, and since when."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began: float | None = None

    @property
    def begun(self) -> bool:
        """Tell whether no new connections are wanted."""
        return self._began is not None

    @property
    def over(self) -> bool:
        """Tell whether every gateway has had time to notice."""
        return self._began is not None and time.monotonic() - self._began >= self._seconds

    def begin(self) -> None:
        """Begin, once."""
        self._began = self._began or time.monotonic()


class DrainingServer(uvicorn.Server):
    """uvicorn, which would close its port with the signal, when gateways still send requests.

    Kubernetes sends SIGTERM and takes the pod out of the endpoints at the same time; until every
    proxy has heard of it, requests go on arriving and have to be answered.
    """

    TOLD: ClassVar[frozenset[int]] = frozenset({signal.SIGTERM})

    def __init__(self, config: uvicorn.Config, drain: Drain) -> None:
        super().__init__(config)
        self.drain = drain

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        """Begin to drain; any signal after the first, and SIGINT, end it."""
        if sig in self.TOLD and not self.drain.begun:
            self.drain.begin()
            return
        # Without the base's record of signals: it would raise them again, and the exit status
        # would tell of a death by signal after a drain that went well.
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Stop once the drain is over."""
        return await super().on_tick(counter) or self.drain.over
