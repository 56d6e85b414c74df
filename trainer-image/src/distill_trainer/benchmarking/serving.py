"""A server under a benchmark, wherever it runs: until it is ready, and how it ended."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import httpx

NAME: Final = "model"
"""Name of the model in requests."""
LOOK_SECONDS: Final = 0.2


class NotServed(Exception):
    """The server does not serve this model; the sentence has its own last words."""


class Serving(Protocol):
    """A server that takes requests, wherever it runs."""

    @property
    def url(self) -> str:
        """Where it is asked."""
        ...

    def peak_memory(self) -> int:
        """Return its largest resident memory so far, in bytes; raises NotServed if it has ended."""
        ...

    def cpu_seconds(self) -> float:
        """Return the processor time that the meter of this container does not see."""
        ...


@dataclass(frozen=True, slots=True)
class State:
    """How the process of a server is."""

    code: int | None
    """Its exit status, below 0 the signal that ended it; None while it runs."""
    words: str
    """The line of its log that says most."""

    def refuse_the_end(self, when: str) -> None:
        """Raise NotServed where it has ended. when: `it ended under the load`, for example."""
        if self.code is not None:
            how = f"signal {-self.code}" if self.code < 0 else f"status {self.code}"
            raise NotServed(f"{when} with {how}: {self.words}")


def until_ready(
    name: str, url: str, seconds: float, look: Callable[[], State], check: Callable[[], None]
) -> None:
    """Wait until a server says at this address that it takes requests.

    name: begins the sentence of NotServed, which is raised where it ends before, or takes longer.
    check: may raise to stop waiting.
    """
    ends = time.monotonic() + seconds
    while not _ready(url):
        check()
        state = look()
        state.refuse_the_end(f"{name} ended")
        if time.monotonic() > ends:
            raise NotServed(f"{name} was not ready within {seconds:g} s: {state.words}")
        time.sleep(LOOK_SECONDS)


def _ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False
