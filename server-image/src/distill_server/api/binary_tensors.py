"""Open Inference bodies with binary tensors, as Triton's clients send them, brought into JSON.

The extension of the protocol puts tensors behind the JSON, in their order: of BYTES each element
with its length before it, in 4 bytes, the lowest first. Answers stay JSON, which its clients read.
"""

import json
import struct
from collections.abc import Iterator
from typing import Any, Final

from starlette.requests import Request

from distill_server.errors import BadRequest

LENGTH_HEADER: Final = "inference-header-content-length"
SIZE: Final = "binary_data_size"
_LENGTH: Final = struct.Struct("<I")


def plain(request: Request, raw: bytes) -> bytes:
    """Return the body as JSON alone; BadRequest where its parts do not fit."""
    told = request.headers.get(LENGTH_HEADER)
    if told is None:
        return raw
    if not told.isdecimal() or int(told) > len(raw):
        raise BadRequest(
            f"the header {LENGTH_HEADER} is {told!r} and the body has {len(raw)} bytes: it must be"
            " the length of the JSON at its beginning"
        )
    try:
        body = json.loads(raw[: int(told)])
        inputs = [tensor for tensor in body["inputs"] if SIZE in tensor.get("parameters", {})]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadRequest(f"the JSON before the binary tensors has no inputs ({error})") from error
    _fill(inputs, raw[int(told) :])
    return json.dumps(body).encode()


def _fill(inputs: list[dict[str, Any]], rest: bytes) -> None:
    place = 0
    for tensor in inputs:
        size = tensor["parameters"][SIZE]
        if not isinstance(size, int) or not 0 <= size <= len(rest) - place:
            raise BadRequest(
                f"{SIZE} of an input is {size!r} and {len(rest) - place} bytes are left: it must be"
                " the size of its data"
            )
        tensor["data"] = list(_texts(rest[place : place + size]))
        place += size


def _texts(data: bytes) -> Iterator[str]:
    place = 0
    while place < len(data):
        start = place + _LENGTH.size
        if start > len(data):
            raise BadRequest("a binary tensor ends within the length of an element")
        place = start + _LENGTH.unpack_from(data, place)[0]
        if place > len(data):
            raise BadRequest("an element of a binary tensor is longer than the tensor")
        try:
            yield data[start:place].decode()
        except UnicodeDecodeError as error:
            raise BadRequest(f"a text is not written in UTF-8: {error}") from error
