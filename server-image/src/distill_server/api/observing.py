"""Around every request: its id, its arm, its time, its place in the counters."""

import re
import secrets
import time
from collections.abc import Mapping
from typing import Final

from distill_api.names import VARIANT_HEADER
from distill_api.probing import DIGEST_HEADER, PROBE_HEADER
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from distill_server.draining import Drain
from distill_server.telemetry import Telemetry

REQUEST_ID: Final = "x-request-id"
SAFE: Final = re.compile(r"[\x21-\x7e]{1,128}")
COUNTED: Final[Mapping[str, str]] = {
    "/v1/embeddings": "/v1/embeddings",
    "/rerank": "/rerank",
    "/v1/rerank": "/v1/rerank",
    "/v2/rerank": "/v2/rerank",
}
INFER: Final = re.compile(r"/v2/models/[^/]+/infer")
INFER_HANDLER: Final = "/v2/models/infer"
HANDLERS: Final = (*COUNTED.values(), INFER_HANDLER)
"""What is counted: requests that compute. Health, metrics and pages never are."""


class Observed:
    """An ASGI application around another one, outermost, so that nothing escapes the count."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry, drain: Drain) -> None:
        self._app, self._telemetry, self._drain = app, telemetry, drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count how it was answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send, self._telemetry, self._drain)
        handler = handler_of(scope["path"])
        if handler is None:
            await self._app(scope, receive, exchange.send)
            return
        began = time.perf_counter()
        try:
            with self._telemetry.in_flight.track_inprogress():
                await self._app(scope, receive, exchange.send)
        finally:
            self._telemetry.answered(
                handler, exchange.status, time.perf_counter() - began, probe=exchange.probe
            )


class _Exchange:
    """One request with its answer."""

    def __init__(self, scope: Scope, send: Send, telemetry: Telemetry, drain: Drain) -> None:
        headers = Headers(scope=scope)
        own = headers.get(REQUEST_ID, "")
        self._id = own if SAFE.fullmatch(own) else secrets.token_hex(16)
        self.probe = headers.get(PROBE_HEADER, "").lower() == "true"
        self.status = 500  # what a caller sees who gets no answer at all
        self._send, self._telemetry, self._drain = send, telemetry, drain
        scope.setdefault("state", {})["request_id"] = self._id

    async def send(self, message: Message) -> None:
        """Add id, arm and model to the answer, and let connections end while the server drains."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = self._id
            headers[VARIANT_HEADER] = self._telemetry.arm
            headers[DIGEST_HEADER] = self._telemetry.digest
            if self._drain.begun:
                headers["connection"] = "close"
        await self._send(message)


def handler_of(path: str) -> str | None:
    """Return the name under which a path is counted, None for what is not."""
    return INFER_HANDLER if INFER.fullmatch(path) else COUNTED.get(path)
