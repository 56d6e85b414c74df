"""One page over HTTP, within a time and a size: whatever goes wrong is said in a sentence."""

from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from pydantic import BaseModel, ValidationError

from distill_operator.errors import NotYet

SECONDS: Final = 2.0
CONNECT_SECONDS: Final = 1.0
MOST_BYTES: Final = 8 * 2**20
_CHUNK: Final = 65_536
_TIMEOUT: Final = aiohttp.ClientTimeout(total=SECONDS, connect=CONNECT_SECONDS)


class Nowhere(NotYet):
    """There is no such page (404)."""


async def text(
    session: aiohttp.ClientSession,
    url: str,
    *,
    form: Mapping[str, str] | None = None,
    content: Mapping[str, Any] | None = None,
    most: int = MOST_BYTES,
) -> str:
    """Return the page at a URL, or the answer to a form, or to JSON content, that is posted there.

    Nowhere for 404; NotYet where there is none: nobody answers in time, another status than 200,
    too long, no text.
    Redirects are not followed: a pod could send us anywhere.
    """
    verb = "GET" if form is None and content is None else "POST"
    try:
        async with session.request(
            verb, url, data=form, json=content, timeout=_TIMEOUT, allow_redirects=False
        ) as answer:
            body = await _read(answer, most)
            if answer.status != 200:
                raise (Nowhere if answer.status == 404 else NotYet)(
                    f"{url} answered {answer.status}: {body[:200].decode(errors='replace')}"
                )
            return body.decode()
    except TimeoutError as error:
        raise NotYet(f"{url} did not answer within {SECONDS:g} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NotYet(f"{url} cannot be read: {error or type(error).__name__}") from error


async def _read(answer: aiohttp.ClientResponse, most: int) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK):
        body += chunk
        if len(body) > most:
            raise NotYet(f"{answer.url} is longer than {most} bytes")
    return bytes(body)


def read[Shape: BaseModel](shape: type[Shape], text: str) -> Shape:
    """Return a JSON page as what it should be; NotYet with the member that is not so."""
    try:
        return shape.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the answer"
        raise NotYet(f"{where} is not as it should be: {first['msg']}") from error
