"""What every endpoint that computes shares: body, time, a caller that leaves, errors."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message

from distill_server.errors import BadRequest, Gone, NotComputed, Refused, TooLarge, TooLate
from distill_server.service import Service

OPEN_INFERENCE: Final = "/v2/models"
"""Paths below it answer errors in the form of the Open Inference Protocol."""
ENVOY_TIMEOUT: Final = "x-envoy-expected-rq-timeout-ms"

type Compute[Body: BaseModel] = Callable[[Service, Body, Request], Awaitable[Response]]


def endpoint[Body: BaseModel](
    shape: type[Body],
    compute: Compute[Body],
    unpack: Callable[[Request, bytes], bytes] = lambda _, raw: raw,
) -> Callable[[Request], Awaitable[Response]]:
    """Make a handler of a function from a body of this shape to an answer.

    unpack: makes JSON of a body that is more than that.
    """

    async def handle(request: Request) -> Response:
        service: Service = request.app.state.service
        try:
            raw = await read(request, service.settings.max_body_bytes)
            body = parse(shape, unpack(request, raw))
            return await _while_wanted(request, service, compute(service, body, request))
        except Gone:
            service.telemetry.cancelled()
            raise

    return handle


async def read(request: Request, most: int) -> bytes:
    """Read the body; TooLarge as soon as it is known to be."""
    announced = request.headers.get("content-length", "0")
    parts, size = [], int(announced) if announced.isdecimal() else 0
    _refuse_size(size, most)
    size = 0
    async for part in request.stream():
        size += len(part)
        _refuse_size(size, most)
        parts.append(part)
    return b"".join(parts)


def parse[Body: BaseModel](shape: type[Body], raw: bytes) -> Body:
    """Read JSON of a shape; BadRequest with the first thing that is wrong."""
    try:
        return shape.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        sentence = f"the field {where} is wrong: {reason}" if where else f"{reason}"
        raise BadRequest(sentence) from error


def refusal(request: Request, error: Exception) -> Response:
    """Answer an error in the words of the protocol that was spoken."""
    if not isinstance(error, Refused):
        error = NotComputed("the server failed; its log has the reason")
    headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    return JSONResponse(told(request.url.path, error), error.status, headers)


def told(path: str, error: Refused) -> dict[str, object]:
    """Return the body of an error."""
    if path.startswith(OPEN_INFERENCE):
        return {"error": error.sentence}
    words = {"message": error.sentence, "type": error.type, "param": None, "code": error.code}
    return {"error": words}


async def _while_wanted(request: Request, service: Service, work: Awaitable[Response]) -> Response:
    """Wait for the answer, until the caller is gone or the request's time is over."""
    answer = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request.receive))
    seconds = _time(request, service.settings.timeout_seconds)
    try:
        async with asyncio.timeout(seconds):
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        raise Gone("the caller closed the connection")
    except TimeoutError as error:
        raise TooLate(
            f"the request was not computed within {seconds:g} s: send fewer inputs, or give the"
            " server more replicas"
        ) from error
    finally:
        answer.cancel()
        gone.cancel()
        await asyncio.gather(answer, gone, return_exceptions=True)


async def _gone(receive: Callable[[], Awaitable[Message]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _time(request: Request, most: float) -> float:
    """Return the seconds that the gateway goes on waiting, if it says so."""
    told_ms = request.headers.get(ENVOY_TIMEOUT, "")
    return min(most, int(told_ms) / 1000) if told_ms.isdecimal() and int(told_ms) else most


def _refuse_size(size: int, most: int) -> None:
    if size > most:
        raise TooLarge(
            f"the body is larger than {most} bytes: divide the request, or raise max_body_bytes"
        )
