"""An open loop: requests are sent when they arrive, however far the server is behind.

A closed loop waits for an answer before it asks again, so a server that stands still for a second
delays one request instead of all that would have come (coordinated omission). Here a latency counts
from the arrival, and so holds whatever a request waited for: its connection, our own event loop.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp
import numpy as np
from numpy.typing import NDArray

from distill_trainer.benchmarking import streaming
from distill_trainer.benchmarking.streaming import Written

LEAD: Final = 0.2
"""Seconds before the first arrival can be, to have everything ready."""
TOLD_EVERY: Final = 0.5
"""Seconds between two looks at whether the pod has to go."""
HEADERS: Final = {"content-type": "application/json"}
WORDS: Final = 200
"""Characters of a server's own words about a failure."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent."""

    path: str
    body: bytes
    """JSON."""
    streams: bool = False
    """The answer comes token by token, as server-sent events."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the load keeps to."""

    concurrency: int
    """Requests under way at most."""
    timeout: float
    """Seconds from the arrival."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request."""

    seconds: float
    """From its arrival until its last byte, or until it failed."""
    good: bool
    late: float
    """Seconds that our own event loop was late to send it."""
    written: Written | None = None
    """Of a good answer that came token by token."""
    why: str = ""
    """What was wrong with one that is not good."""


class _Refused(Exception):
    """The server answered, and not as asked."""


type Tell = Callable[[int], None]
"""Told how many requests were sent; may raise to stop."""


async def offer(
    url: str,
    requests: Sequence[Request],
    arrivals: NDArray[np.float64],
    limits: Limits,
    tell: Tell,
) -> list[Answer]:
    """Send each request at its arrival; return the answers in that order, once all are there.

    arrivals: seconds after the first may be sent, rising, [requests]. tell: may raise to stop.
    """
    connector = aiohttp.TCPConnector(limit=limits.concurrency)
    # Our own timeout counts from the arrival; the library's would count from the connection.
    whole = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(url, connector=connector, timeout=whole) as session:
        begin = asyncio.get_running_loop().time() + LEAD
        sent: list[asyncio.Task[Answer]] = []
        try:
            await _send(session, requests, begin + arrivals, limits, (sent, tell))
            return await asyncio.gather(*sent)
        finally:
            for one in sent:
                one.cancel()
            await asyncio.gather(*sent, return_exceptions=True)


async def _send(
    session: aiohttp.ClientSession,
    requests: Sequence[Request],
    due: NDArray[np.float64],
    limits: Limits,
    book: tuple[list[asyncio.Task[Answer]], Tell],
) -> None:
    loop, (sent, tell) = asyncio.get_running_loop(), book
    for request, at in zip(requests, due.tolist(), strict=True):
        while (left := at - loop.time()) > 0:
            # In pieces: at a low rate the pod must not wait for the next arrival to end.
            await asyncio.sleep(min(left, TOLD_EVERY))
            tell(len(sent))
        sent.append(asyncio.create_task(_answered(session, request, at, at + limits.timeout)))
    tell(len(sent))


async def _answered(
    session: aiohttp.ClientSession, request: Request, due: float, ends: float
) -> Answer:
    loop = asyncio.get_running_loop()
    late, written, why = loop.time() - due, None, ""
    try:
        async with (
            asyncio.timeout_at(ends),
            session.post(request.path, data=request.body, headers=HEADERS) as answer,
        ):
            written = await _read(answer, request, due)
    except TimeoutError:
        why = f"no whole answer within {ends - due:g} s"
    except (_Refused, streaming.Broken, aiohttp.ClientError, OSError) as error:
        why = str(error) or type(error).__name__
    return Answer(loop.time() - due, not why, late, written, why)


async def _read(answer: aiohttp.ClientResponse, request: Request, due: float) -> Written | None:
    """Read an answer to its end. Raises _Refused or Broken for one that is none."""
    if answer.status != 200:
        words = " ".join((await answer.text(errors="replace")).split())[:WORDS]
        raise _Refused(f"HTTP {answer.status}: {words}")
    if request.streams:
        return await streaming.read(answer.content, due)
    await answer.read()
    return None
