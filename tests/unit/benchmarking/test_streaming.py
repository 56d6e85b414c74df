"""Answers that come token by token: what is counted, what is timed, and what is no answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from distill_trainer.benchmarking import load
from distill_trainer.benchmarking.load import Answer, Limits, Request
from distill_trainer.benchmarking.streaming import Written

ASK = Request("/ask", b"{}", streams=True)

type Say = Callable[[web.StreamResponse], Awaitable[None]]


def event(content: Any) -> bytes:
    return b"data: " + (content if isinstance(content, bytes) else json.dumps(content).encode())


def token(text: str = "a", end: str | None = None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": end}]}


def counted(tokens: int) -> dict[str, Any]:
    return {"choices": [], "usage": {"completion_tokens": tokens}}


def sends(*events: Any) -> Say:
    """Send events; a number is a pause in seconds."""

    async def say(response: web.StreamResponse) -> None:
        for one in events:
            if isinstance(one, float):
                await asyncio.sleep(one)
            else:
                await response.write(event(one) + b"\n\n")

    return say


async def asked(say: Say, *, count: int = 1, limits: Limits | None = None) -> list[Answer]:
    """Return what comes of requests to a server that says something."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await say(response)
        return response

    app = web.Application()
    app.router.add_post("/ask", answer)
    async with TestServer(app) as server, asyncio.timeout(120):
        url = str(server.make_url("")).rstrip("/")
        chosen = limits or Limits(concurrency=9, timeout=60)
        return await load.offer(url, [ASK] * count, np.zeros(count), chosen, lambda _: None)


async def test_the_first_token_is_timed_from_the_arrival_and_the_others_between_each_other():
    said = sends(0.3, token(""), 0.4, token(), 0.4, token(end="stop"), counted(5), b"[DONE]")
    (found,) = await asked(said)
    assert found.good
    assert found.written is not None
    assert found.written.tokens == 5
    assert found.written.first == pytest.approx(0.3, abs=0.2)
    assert found.written.last - found.written.first >= 0.8
    assert found.written.each == pytest.approx(0.2, abs=0.1)
    assert found.seconds >= found.written.last


async def test_what_waited_for_a_connection_has_waited_for_its_first_token():
    said = sends(0.4, token(end="stop"), counted(1), b"[DONE]")
    first, second = await asked(said, count=2, limits=Limits(concurrency=1, timeout=60))
    assert first.written is not None
    assert second.written is not None
    assert second.written.first - first.written.first >= 0.3


def test_a_single_token_has_no_time_between_two():
    assert Written(1.0, 1.0, 1).each is None


BROKEN = [
    ("no end", sends(token(), counted(2)), "the stream ended before the answer did"),
    ("no token", sends(counted(0), b"[DONE]"), "the answer has no token"),
    ("no count", sends(token(end="stop"), b"[DONE]"), "the server does not count them"),
    ("no JSON", sends(b"<html>"), "an event is no JSON: b'<html>'"),
    (
        "an error",
        sends(token(), {"error": {"message": "EngineDeadError"}}),
        "the server broke off: EngineDeadError",
    ),
    ("a bare error", sends({"error": "too much"}), "the server broke off: too much"),
]


@pytest.mark.parametrize(("why", "said", "expected"), BROKEN, ids=[one[0] for one in BROKEN])
async def test_what_is_no_whole_answer_says_why(why: str, said: Say, expected: str):
    (found,) = await asked(said)
    assert not found.good
    assert found.written is None
    assert expected in found.why


async def test_an_answer_that_goes_on_too_long_is_none():
    (found,) = await asked(sends(token(), 30.0), limits=Limits(concurrency=1, timeout=0.5))
    assert (found.good, found.written) == (False, None)
    assert found.why == "no whole answer within 0.5 s"


@pytest.fixture
async def refusing() -> AsyncIterator[str]:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "The prompt is too long"}}, status=400)

    app = web.Application()
    app.router.add_post("/ask", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


async def test_a_refusal_has_the_servers_own_words(refusing: str):
    limits = Limits(concurrency=1, timeout=60)
    (found,) = await load.offer(refusing, [ASK], np.zeros(1), limits, lambda _: None)
    assert not found.good
    assert found.why.startswith("HTTP 400: ")
    assert "The prompt is too long" in found.why
