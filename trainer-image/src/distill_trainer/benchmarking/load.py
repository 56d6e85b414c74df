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

LEAD: Final = 0.2
"""Seconds before the first arrival can be, to have everything ready."""
TOLD_EVERY: Final = 0.5
"""Seconds between two looks at whether the pod has to go."""
HEADERS: Final = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent."""

    path: str
    body: bytes
    """JSON."""


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


type Tell = Callable[[int], None]
"""Told how many requests were sent; may raise to stop."""


async def offer(
    url: str,
    requests: Sequence[Request],
    arrivals: NDArray[np.float64],
    limits: Limits,
    tell: Tell,
) -> list[Answer]:
    """Send each request at its arrival; return the answers in that order, once all are there."""
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
    late, good = loop.time() - due, False
    try:
        async with (
            asyncio.timeout_at(ends),
            session.post(request.path, data=request.body, headers=HEADERS) as answer,
        ):
            await answer.read()
            good = answer.status == 200
    except (TimeoutError, aiohttp.ClientError, OSError):
        good = False
    return Answer(loop.time() - due, good, late)
