"""Metrics and probes over plain HTTP."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from distill_operator.effects.metrics import Metrics

BEAT: Final = 0.5
LAGGING: Final = 15.0
"""Seconds of event loop lag that the liveness probe no longer forgives."""
MEMORY: Final = 60.0
"""Seconds for which a lag is remembered."""


class Pulse:
    """Measures how late the event loop wakes up."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._worst = 0.0
        self._worst_at = time.monotonic()

    async def run(self) -> None:
        """Measure for ever."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(BEAT)
            self._note(time.monotonic() - before - BEAT)

    def _note(self, lag: float) -> None:
        self._metrics.loop_lag.set(lag)
        now = time.monotonic()
        if lag >= self._worst or now - self._worst_at > MEMORY:
            self._worst, self._worst_at = lag, now

    def complaint(self) -> str | None:
        """Return what is wrong with the event loop, if anything."""
        if self._worst <= LAGGING or time.monotonic() - self._worst_at > MEMORY:
            return None
        return f"the event loop was {self._worst:.1f} s late within the last minute"


@dataclass(frozen=True, slots=True)
class Probes:
    """What the kubelet asks; each answers with its complaints, none when all is well."""

    healthy: Callable[[], list[str]]
    ready: Callable[[], list[str]]


def application(metrics: Metrics, probes: Probes) -> web.Application:
    """Return the application with /metrics, /healthz and /readyz."""
    app = web.Application()

    async def show(_: web.Request) -> web.Response:
        body = generate_latest(metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        return _verdict(probes.healthy())

    async def readyz(_: web.Request) -> web.Response:
        return _verdict(probes.ready())

    app.add_routes(
        [web.get("/metrics", show), web.get("/healthz", healthz), web.get("/readyz", readyz)]
    )
    return app


def _verdict(complaints: list[str]) -> web.Response:
    if complaints:
        return web.Response(status=503, text="\n".join(complaints) + "\n")
    return web.Response(text="ok\n")
