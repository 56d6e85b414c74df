"""What a failed call to the API server means in our tree of errors."""

import json
from typing import Any

from distill_operator import errors

TOO_MANY_REQUESTS = 429
SERVER_ERROR = 500
UNAUTHORIZED = 401
MAY_PASS = frozenset({408, TOO_MANY_REQUESTS, UNAUTHORIZED})
"""4xx that may pass: a token that is being renewed, a server that is busy."""


def error(what: str, code: int, body: str | bytes | None) -> errors.DistillationError:
    """Return the error for an answer: `what` was asked for, `code` and `body` came back."""
    status = _status(body)
    sentence = f"{what}: the API server answered {code}: {status['message']}"
    if code == 404:
        return errors.Missing(sentence)
    if code == 409:
        exists = status["reason"] == "AlreadyExists"
        return errors.Exists(sentence) if exists else errors.Conflict(sentence)
    if code >= SERVER_ERROR or code in MAY_PASS:
        return errors.NotYet(sentence)
    return errors.Refused(sentence)


def _status(body: str | bytes | None) -> dict[str, str]:
    """Return reason and message of a metav1.Status, or what can be said without one."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
    try:
        found: Any = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        found = {}
    message = str(found.get("message") or text[:300] or "no reason given")
    return {"reason": str(found.get("reason") or ""), "message": message}
