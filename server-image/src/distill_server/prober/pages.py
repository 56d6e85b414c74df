"""What the prober answers: whether it has its queries, its counters, its pairs."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Final

from distill_api.probing import PAIRS_PATH, PROBE_HEADER
from distill_api.rollout_metrics import QuerySource
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from distill_server.api import binary_tensors
from distill_server.errors import BadRequest
from distill_server.prober.mirror import MOST_BYTES, Inbox
from distill_server.prober.probe import Probe

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

log = logging.getLogger(__name__)


def build(probe: Probe, ended: Callable[[], None]) -> Starlette:
    """Return the application; the work goes on from its start to its end.

    ended: called when the work has ended by itself, which is a fault.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        work = asyncio.create_task(probe.run(), name="probe")
        work.add_done_callback(lambda done: None if done.cancelled() else _broken(done, ended))
        yield
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    routes = [
        Route("/healthz", health),
        Route("/metrics", metrics),
        Route(PAIRS_PATH, pairs),
    ]
    if probe.inbox is not None:
        routes.append(Route("/{path:path}", copied, methods=METHODS))
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
    )
    app.state.probe = probe
    return app


def _broken(work: asyncio.Task[None], ended: Callable[[], None]) -> None:
    log.error("the prober has failed", exc_info=work.exception())
    ended()


async def health(request: Request) -> Response:
    """Say whether there are queries to send."""
    probe: Probe = request.app.state.probe
    if probe.material is None:
        return PlainTextResponse(f"{probe.doing}\n", 503)
    return PlainTextResponse("ok\n")


async def metrics(request: Request) -> Response:
    """Write the counters in Prometheus' text format."""
    probe: Probe = request.app.state.probe
    text = generate_latest(probe.telemetry.registry)
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def pairs(request: Request) -> Response:
    """Hand over the pairs after a number, or all where it is of another run.

    503 with what is being done while there are none yet.
    """
    probe: Probe = request.app.state.probe
    given = request.query_params.get("after", "0")
    if not given.isdecimal():
        return PlainTextResponse(f"after is {given!r}: expected the number of a query\n", 400)
    users = request.query_params.get("source") == QuerySource.MIRRORED
    ledger, failing = probe.ledger, probe.failing
    if users:
        ledger, failing = probe.mirrored, probe.unmirrored
    if ledger is None:
        return PlainTextResponse(f"no pairs yet: {probe.doing}\n", 503)
    own = request.query_params.get("run", ledger.run.name) == ledger.run.name
    found = ledger.after(int(given) if own else 0, failing)
    return Response(found.model_dump_json(by_alias=True), media_type="application/json")


async def copied(request: Request) -> Response:
    """Take in the copy of a user's request; the gateway drops the answer."""
    inbox: Inbox = request.app.state.probe.inbox
    body = await _body(request) if request.method == "POST" else None
    inbox.take(request.url.path, _plain(request, body), probe=PROBE_HEADER in request.headers)
    return Response(status_code=204)


def _plain(request: Request, body: bytes | None) -> bytes | None:
    """Return JSON alone, of a request that has tensors behind it as well."""
    try:
        return None if body is None else binary_tensors.plain(request, body)
    except BadRequest:
        return None


async def _body(request: Request) -> bytes | None:
    """Return the body; None for one that is too large, or breaks off."""
    found = bytearray()
    try:
        async for part in request.stream():
            found += part
            if len(found) > MOST_BYTES:
                return None
    except ClientDisconnect:
        return None
    return bytes(found)
