"""The progress endpoint in operation: served with TLS, its certificate renewed, pods led to it."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from distill_operator import errors
from distill_operator.effects import endpoint
from distill_operator.effects.callers import Allowance, Callers
from distill_operator.effects.certificate_store import Certificate
from distill_operator.effects.cluster import Cluster
from distill_operator.effects.leadership import Leadership
from distill_operator.effects.metrics import Metrics
from distill_operator.effects.progress_server import Keep, ProgressServer
from distill_operator.effects.store import Store
from distill_operator.settings import Settings

log = logging.getLogger(__name__)

CERTIFICATE_SECONDS: Final = 600.0
ENDPOINT_SECONDS: Final = 30.0
RETRY_SECONDS: Final = 5.0
PUSHES_PER_SECOND: Final = 1.0
PUSHES_AT_ONCE: Final = 10.0


@dataclass(frozen=True, slots=True)
class Doors:
    """Two ways to the API server: writes as leader, and writes that any replica may do."""

    leader: Cluster
    anybody: Cluster


class ProgressEndpoint:
    """Where trainer pods push; without a progress URL nothing is served."""

    def __init__(
        self, settings: Settings, doors: Doors, store: Store, metrics: Metrics, keep: Keep
    ) -> None:
        self._settings = settings
        self._doors = doors
        self._certificate = Certificate(doors.anybody, settings.namespace, _hosts(settings))
        self._server = ProgressServer(
            Callers(doors.anybody, store, time.monotonic),
            Allowance(time.monotonic, rate=PUSHES_PER_SECOND, burst=PUSHES_AT_ONCE),
            metrics,
            doors.leader.require,
            keep,
        )

    @property
    def url(self) -> str | None:
        """Where pods push; None as long as it cannot be served."""
        return self._settings.progress_url if self.authority else None

    @property
    def authority(self) -> str | None:
        """PEM of the authority that pods trust."""
        return self._certificate.authority

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve as long as the context lasts."""
        if self._settings.progress_url is None:
            yield
            return
        runner = web.AppRunner(self._server.application(), access_log=None)
        await runner.setup()
        port, context = self._settings.progress_port, self._certificate.context
        await web.TCPSite(runner, None, port, ssl_context=context).start()
        try:
            yield
        finally:
            await runner.cleanup()

    async def renew(self) -> None:
        """Keep the certificate good for ever."""
        while self._settings.progress_url is not None:
            try:
                await self._certificate.refresh()
                await asyncio.sleep(CERTIFICATE_SECONDS)
            except errors.DistillationError as error:
                log.warning("the progress endpoint's certificate was not refreshed: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
        await asyncio.Event().wait()

    async def attract(self, leadership: Leadership) -> None:
        """Lead pods here while this replica leads."""
        address, settings = self._settings.pod_ip, self._settings
        while address is not None and settings.progress_url is not None:
            await leadership.gained()
            wanted = endpoint.manifest(
                settings.namespace, settings.progress_service, address, settings.progress_port
            )
            try:
                await endpoint.point_here(self._doors.leader, wanted)
                await asyncio.sleep(ENDPOINT_SECONDS)
            except errors.DistillationError as error:
                log.warning("pods could not be led here: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
        await asyncio.Event().wait()


def _hosts(settings: Settings) -> list[str]:
    """Return the names that the certificate is for."""
    service, namespace = settings.progress_service, settings.namespace
    host = urlsplit(settings.progress_url or "").hostname
    own = [f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.cluster.local"]
    return own + ([host] if host and host not in own else [])
