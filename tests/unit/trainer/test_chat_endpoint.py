"""A generating teacher behind a server: what is asked, flaws, numbered log-probabilities."""

import json
import math
from typing import Any

import numpy as np
import pytest
from distill_api.sources import Endpoint, Sampling
from distill_trainer.errors import BadInput
from distill_trainer.teachers import answers
from distill_trainer.teachers.answers import Flaw
from distill_trainer.teachers.chat_endpoint import ChatEndpoint
from distill_trainer.teachers.endpoint import Budget
from http_faults import Answer, Call, serving


def told(message: dict[str, Any], finish: str = "stop", **choice: Any) -> Answer:
    body = {
        "choices": [{"message": message, "finish_reason": finish, **choice}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }
    return Answer(200, json.dumps(body).encode())


def asked_of(answer: Answer, **sampling: Any) -> tuple[answers.Answer, list[Call]]:
    settings = Sampling(**sampling)
    with serving(lambda _call: answer) as server:
        teacher = ChatEndpoint(
            Endpoint(url=f"{server.url}/v1", model="m"), "k3y", settings, Budget(None)
        )
        try:
            (found,) = teacher.answer([answers.ask("who?", "Ann did.", settings)])
        finally:
            teacher.close()
    return found, list(server.calls)


def test_the_context_is_always_asked_with_and_sampling_is_passed_on():
    found, calls = asked_of(told({"content": " Ann. "}), system_prompt="Be short.", max_tokens=9)
    assert (found.text, found.flaw, found.prompt_tokens, found.tokens) == ("Ann.", None, 7, 3)
    body = json.loads(calls[0].body)
    assert calls[0].path == "/v1/chat/completions"
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert "Context: Ann did.\n\nQuestion: who?" in body["messages"][1]["content"]
    assert (body["max_tokens"], body["temperature"]) == (9, 0.3)
    assert "logprobs" not in body


@pytest.mark.parametrize(
    ("answer", "flaw"),
    [
        (told({"content": "Ann"}, "length"), Flaw.TRUNCATED),
        (told({"content": None, "refusal": "no"}), Flaw.REFUSED),
        (told({"content": "Ann"}, "content_filter"), Flaw.REFUSED),
        (told({"content": ""}), Flaw.EMPTY),
    ],
)
def test_flaws_are_read_from_what_the_server_tells(answer: Answer, flaw: Flaw):
    # T10
    assert asked_of(answer)[0].flaw is flaw


def test_reasoning_is_taken_from_its_field_or_from_its_marks():
    for message in (
        {"content": "Ann", "reasoning_content": "She did it."},
        {"content": "Ann", "reasoning": "She did it."},
        {"content": "<think>She did it.</think>Ann"},
    ):
        found, _ = asked_of(told(message), chain_of_thought=True)
        assert (found.thoughts, found.text, found.flaw) == ("She did it.", "Ann", None)
    found, _ = asked_of(told({"content": "Ann"}), chain_of_thought=True)
    assert found.flaw is Flaw.NO_REASONING


def test_numbered_tokens_are_cached_and_named_ones_are_not():
    # T9: k is what the server gave; what is missing is masked, and the tail has the rest.
    rows = [
        {"token": "token_id:5", "top_logprobs": [
            {"token": "token_id:5", "logprob": math.log(0.5)},
            {"token": "token_id:8", "logprob": math.log(0.25)}]},
        {"token": "token_id:2", "top_logprobs": [{"token": "token_id:2", "logprob": 0.0}]},
    ]  # fmt: skip
    found, calls = asked_of(told({"content": "Ann"}, logprobs={"content": rows}), top_logprobs=64)
    assert json.loads(calls[0].body)["top_logprobs"] == 20
    cached = found.distributions
    assert cached is not None
    assert cached.ids.shape == (2, 2)
    assert np.isneginf(cached.logprobs[1, 1])
    assert cached.tail.tolist() == pytest.approx([math.log(0.25), -math.inf])
    named = [{"token": "Ann", "top_logprobs": [{"token": "Ann", "logprob": -0.1}]}]
    found, _ = asked_of(told({"content": "Ann"}, logprobs={"content": named}), top_logprobs=2)
    assert found.distributions is None
    assert found.ids is None


def test_an_answer_of_another_kind_is_refused_with_the_servers_name():
    with pytest.raises(BadInput, match="does not answer like /v1/chat/completions"):
        asked_of(Answer(200, b'{"choices": []}'))
