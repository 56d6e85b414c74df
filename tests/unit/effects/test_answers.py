"""An answer of the API server becomes the error that says whether trying again can help."""

import json

import pytest
from distill_operator import errors
from distill_operator.effects import answers

CASES = [
    (404, "NotFound", errors.Missing),
    (409, "AlreadyExists", errors.Exists),
    (409, "Conflict", errors.Conflict),
    (422, "Invalid", errors.Refused),
    (403, "Forbidden", errors.Refused),
    (401, "Unauthorized", errors.NotYet),
    (429, "TooManyRequests", errors.NotYet),
    (500, "InternalError", errors.NotYet),
    (503, "ServiceUnavailable", errors.NotYet),
]


@pytest.mark.parametrize(("code", "reason", "kind"), CASES)
def test_what_an_answer_means(code: int, reason: str, kind: type[Exception]) -> None:
    body = json.dumps({"reason": reason, "message": "spec.x: too long"})

    error = answers.error("POST /things", code, body)

    assert type(error) is kind
    assert str(error) == f"POST /things: the API server answered {code}: spec.x: too long"


@pytest.mark.parametrize("body", [None, b"", b"<html>bad gateway</html>", "[]", b"\xff\xfe"])
def test_an_answer_that_is_no_status_still_gives_a_sentence(body: str | bytes | None) -> None:
    error = answers.error("GET /things", 502, body)

    assert isinstance(error, errors.NotYet)
    assert "GET /things: the API server answered 502: " in str(error)
