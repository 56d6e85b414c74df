"""Answers that come token by token: server-sent events of an OpenAI-compatible server, timed."""

import asyncio
import json
from collections.abc import AsyncIterable
from dataclasses import dataclass
from typing import Any, Final

FIELD: Final = b"data:"
END: Final = b"[DONE]"


class Broken(Exception):
    """The stream ended before the answer did, or is none; the sentence says how."""


@dataclass(frozen=True, slots=True)
class Written:
    """An answer, as it was written."""

    first: float
    """Seconds from the request's arrival to the first token."""
    last: float
    """Seconds to the last token."""
    tokens: int

    @property
    def each(self) -> float | None:
        """Mean seconds between two tokens; None for a single one."""
        return (self.last - self.first) / (self.tokens - 1) if self.tokens > 1 else None


async def read(lines: AsyncIterable[bytes], due: float) -> Written:
    """Read a stream to its end. due: when the request arrived, by the event loop's clock.

    The first event with a choice is the first token, whatever text it has: vLLM sends nothing
    before it, and a token may be an end or a part of a character, which have no text.
    """
    loop = asyncio.get_running_loop()
    first = last = None
    tokens = 0
    async for line in lines:
        if not line.startswith(FIELD):
            continue
        content = line.removeprefix(FIELD).strip()
        if content == END:
            return _whole(first, last, tokens)
        event = _event(content)
        if event.get("choices"):
            last = loop.time() - due
            first = last if first is None else first
        tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
    raise Broken("the stream ended before the answer did")


def _whole(first: float | None, last: float | None, tokens: int) -> Written:
    if first is None or last is None or tokens < 1:
        raise Broken("the answer has no token, or the server does not count them")
    return Written(first, last, tokens)


def _event(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError as error:
        raise Broken(f"an event is no JSON: {content[:80]!r}") from error
    if not isinstance(found, dict) or "error" in found:
        told = found["error"] if isinstance(found, dict) else found
        words = told.get("message", told) if isinstance(told, dict) else told
        raise Broken(f"the server broke off: {str(words)[:200]}")
    return found
