"""A teacher behind a server: order, retries, budget, and answers that make no sense."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from typing import Any

import numpy as np
import pytest
from distill_api.names import Reason
from distill_api.teacher import Endpoint
from distill_trainer.errors import BadInput, TryAgain
from distill_trainer.teachers import endpoint as endpoints
from distill_trainer.teachers.endpoint import Budget, EndpointTeacher, Pacer
from http_faults import Answer, Call, Server, serving


def embedding(text: str) -> list[float]:
    return [float(len(text)), float(ord(text[-1])), 1.0]


def good(call: Call) -> Answer:
    """Answer as OpenAI's /v1/embeddings does, rows in another order than asked."""
    asked = json.loads(call.body)["input"]
    rows = [{"index": n, "embedding": embedding(text)} for n, text in enumerate(asked)]
    body = {"data": rows[::-1], "usage": {"total_tokens": 10 * len(asked)}}
    return Answer(200, json.dumps(body).encode())


def one_of(bodies: Iterator[bytes], call: Call) -> Answer:
    """Answer with the next body; well where it is empty or there is none."""
    body = next(bodies, b"")
    return Answer(200, body) if body else good(call)


@contextmanager
def a_teacher(
    answer: Callable[[Call], Answer], *, budget: Budget | None = None, **options: Any
) -> Iterator[tuple[EndpointTeacher, Server]]:
    with serving(answer) as server:
        spec = Endpoint(url=f"{server.url}/v1", model="m", **options)
        teacher = EndpointTeacher(spec, "k3y", 2, budget or Budget(None))
        try:
            yield teacher, server
        finally:
            teacher.close()


def embeddings(*indices: int) -> bytes:
    rows = [{"index": number, "embedding": [1.0, float(number)]} for number in indices]
    return json.dumps({"data": rows, "usage": {"total_tokens": 3}}).encode()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "wait", lambda _state: 0.0)


def test_embeddings_come_in_the_order_of_the_texts():
    texts = [f"text {'x' * n}{n}" for n in range(7)]
    with a_teacher(good) as (teacher, server):
        embedded = teacher.embed(texts, prompt="q: ")
    np.testing.assert_array_equal(embedded.vectors, [embedding("q: " + text) for text in texts])
    assert embedded.tokens == 70
    assert {call.path for call in server.calls} == {"/v1/embeddings"}
    assert {call.headers["Authorization"] for call in server.calls} == {"Bearer k3y"}
    assert len(server.calls) == 4


def test_a_busy_server_is_asked_again():
    answers = iter([Answer(429, b"", {"Retry-After": "7"}), Answer(503)])
    with a_teacher(lambda call: next(answers, None) or good(call)) as (teacher, server):
        embedded = teacher.embed(["a", "b"], prompt="")
    assert len(embedded.vectors) == 2
    assert len(server.calls) == 3


def test_retry_after_decides_the_wait(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()

    class Failed:
        @staticmethod
        def exception() -> Exception:
            return endpoints.Busy("HTTP 429", 7.0)

    class State:
        outcome = Failed()

    assert endpoints.wait(State()) == 7.0  # type: ignore[arg-type]  # the part that is read


def test_a_server_that_stays_away_is_left_to_the_job():
    with a_teacher(lambda _: Answer(503)) as (teacher, server):
        with pytest.raises(TryAgain) as caught:
            teacher.embed(["a"], prompt="")
        assert caught.value.reason is Reason.TEACHER_UNREACHABLE
        assert len(server.calls) == endpoints.ATTEMPTS


CASES: list[tuple[int, type[Exception], Reason]] = [
    (401, TryAgain, Reason.SECRET_MISSING),
    (404, BadInput, Reason.TEACHER_UNREACHABLE),
    (400, BadInput, Reason.TEACHER_UNREACHABLE),
]


@pytest.mark.parametrize(("status", "kind", "reason"), CASES)
def test_a_refusal_is_not_asked_again(status: int, kind: type[Exception], reason: Reason):
    with a_teacher(lambda _: Answer(status, b"no")) as (teacher, server):
        with pytest.raises(kind) as caught:
            teacher.embed(["a"], prompt="")
        assert caught.value.reason is reason  # type: ignore[attr-defined]  # both have it
        assert "k3y" not in str(caught.value)
        assert len(server.calls) == 1


STRANGE = {
    "no JSON": b"<html>",
    "no data": b"{}",
    "too few": b'{"data": [{"index": 0, "embedding": [1.0]}]}',
    "twice the same": embeddings(0, 0),
    "ragged": b'{"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1, 2]}]}',
}


@pytest.mark.parametrize("why", STRANGE)
def test_an_answer_that_makes_no_sense_is_bad_input(why: str):
    with (
        a_teacher(lambda _: Answer(200, STRANGE[why])) as (teacher, _),
        pytest.raises(BadInput, match="does not answer like /v1/embeddings"),
    ):
        teacher.embed(["a", "b"], prompt="")


def test_another_width_than_asked_for_is_told():
    with (
        a_teacher(good, dimension=4) as (teacher, server),
        pytest.raises(BadInput, match="width 3 instead of dimension 4"),
    ):
        teacher.embed(["a"], prompt="")
    assert json.loads(server.calls[0].body)["dimensions"] == 4


def test_the_budget_counts_earlier_attempts_too():
    with (
        a_teacher(good, budget=Budget(100, spent=90), max_concurrency=1) as (teacher, _),
        pytest.raises(BadInput, match="tokenBudget is used up: 110 of 100"),
    ):
        teacher.embed([f"t{n}" for n in range(20)], prompt="")


def test_a_budget_cannot_be_kept_where_no_usage_is_told():
    def silent(call: Call) -> Answer:
        told = json.loads(good(call).body)
        return Answer(200, json.dumps({**told, "usage": None}).encode())

    with a_teacher(silent) as (teacher, _):
        assert teacher.embed(["a"], prompt="").tokens == 0
    with (
        a_teacher(silent, budget=Budget(100)) as (teacher, server),
        pytest.raises(BadInput, match=r"tells no usage .* teacher\.endpoint\.tokenBudget"),
    ):
        teacher.embed([f"t{n}" for n in range(40)], prompt="")
    assert len(server.calls) < 20


HALF = [b'{"data": [{"index"', b"<html>gateway</html>", b'{"error": {"message": "overloaded"}}']


@pytest.mark.parametrize("half", HALF, ids=["half", "a page", "an error with status 200"])
def test_half_an_answer_of_a_server_that_has_answered_is_asked_for_again(half: bytes):
    bodies = iter([b"", half])
    with a_teacher(lambda call: one_of(bodies, call), max_concurrency=1) as (teacher, server):
        assert len(teacher.embed(["a", "b", "c", "d"], prompt="").vectors) == 4
    assert len(server.calls) == 3


def test_a_server_that_never_answers_whole_again_is_left_to_the_job():
    bodies = chain([b""], repeat(b"{"))
    with (
        a_teacher(lambda call: one_of(bodies, call), max_concurrency=1) as (teacher, _),
        pytest.raises(TryAgain, match="after 6 attempts: an answer that cannot be read"),
    ):
        teacher.embed(["a", "b", "c"], prompt="")


@pytest.mark.parametrize("status", [400, 401, 429])
def test_a_key_that_the_server_repeats_is_not_told(status: int):
    told = b"Incorrect key k3y: you exceeded your current quota"
    with (
        a_teacher(lambda _: Answer(status, told)) as (teacher, _),
        pytest.raises((BadInput, TryAgain), match=r"key \*\*\*: you exceeded") as caught,
    ):
        teacher.embed(["a"], prompt="")
    assert "k3y" not in str(caught.value)


def test_who_is_asked_is_named():
    judge = endpoints.Whose("The judge", "evaluation.judge.endpoint")
    with (
        a_teacher(lambda _: Answer(404), budget=Budget(None, whose=judge)) as (teacher, _),
        pytest.raises(BadInput, match=r"^The judge at .* Check evaluation\.judge\.endpoint\.url"),
    ):
        teacher.embed(["a"], prompt="")


def test_requests_keep_their_distance():
    pacer = Pacer(1200)
    start = time.monotonic()
    for _ in range(5):
        pacer.wait()
    assert time.monotonic() - start >= 4 * 0.05
