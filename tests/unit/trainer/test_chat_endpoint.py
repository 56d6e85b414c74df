"""A generating teacher behind a server: what is asked, flaws, numbered log-probabilities."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distill_api.teacher import Endpoint, Sampling
from distill_trainer.errors import BadInput
from distill_trainer.teachers import answers
from distill_trainer.teachers.answers import Flaw
from distill_trainer.teachers.chat_endpoint import ChatEndpoint
from distill_trainer.teachers.endpoint import Budget
from http_faults import Answer, Call, serving

RECORDED = Path(__file__).with_name("recorded")


def told(message: dict[str, Any], finish: str = "stop", **choice: Any) -> Answer:
    body = {
        "choices": [{"message": message, "finish_reason": finish, **choice}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }
    return Answer(200, json.dumps(body).encode())


def asked_of(
    answer: Answer | Callable[[Call], Answer], **sampling: Any
) -> tuple[answers.Answer, list[Call]]:
    settings = Sampling(**sampling)
    with serving(answer if callable(answer) else lambda _call: answer) as server:
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
    assert json.loads(calls[0].body)["top_logprobs"] == 64
    cached = found.distributions
    assert cached is not None
    assert cached.ids.shape == (2, 2)
    assert np.isneginf(cached.logprobs[1, 1])
    assert cached.tail.tolist() == pytest.approx([math.log(0.25), -math.inf])
    named = [{"token": "Ann", "top_logprobs": [{"token": "Ann", "logprob": -0.1}]}]
    found, _ = asked_of(told({"content": "Ann"}, logprobs={"content": named}), top_logprobs=2)
    assert found.distributions is None
    assert found.ids is None


def test_what_vllm_answers_is_read_and_the_most_that_it_gives_is_found_out():
    # Both answers are recorded from vLLM 0.32 with SmolLM2-135M-Instruct.
    def answer(call: Call) -> Answer:
        if json.loads(call.body)["top_logprobs"] > 20:
            return Answer(400, (RECORDED / "vllm-too-many.json").read_bytes())
        return Answer(200, (RECORDED / "vllm-numbered.json").read_bytes())

    found, calls = asked_of(answer, top_logprobs=64)
    assert [json.loads(call.body)["top_logprobs"] for call in calls] == [64, 20]
    assert (found.text, found.flaw, found.tokens) == ("The capital of France is Paris", None, 7)
    assert found.ids is not None
    assert found.ids.tolist() == [504, 3575, 282, 4649, 314, 7042, 2]
    assert found.distributions is not None
    whole = np.exp(found.distributions.logprobs.astype(np.float64)).sum(1)
    whole += np.exp(found.distributions.tail)
    np.testing.assert_allclose(whole, 1, atol=2e-3)  # float16


def test_another_refusal_is_not_taken_for_too_many():
    with pytest.raises(BadInput, match="HTTP 400: no such model"):
        asked_of(Answer(400, b"no such model"), top_logprobs=64)


def test_a_probability_of_nothing_is_masked():
    top = [{"token": "token_id:5", "logprob": 0.0}, {"token": "token_id:8", "logprob": -9999.0}]
    rows = [{"token": "token_id:5", "top_logprobs": top}]
    found, _ = asked_of(told({"content": "Ann"}, logprobs={"content": rows}), top_logprobs=2)
    assert found.distributions is not None
    assert np.isneginf(found.distributions.logprobs[0, 1])


def test_an_answer_of_another_kind_is_refused_with_the_servers_name():
    with pytest.raises(BadInput, match="does not answer like /v1/chat/completions"):
        asked_of(Answer(200, b'{"choices": []}'))


TOO_LONG = [
    b'{"message": "This model\'s maximum context length is 64 tokens. However, you requested 80"}',
    b'{"error": {"code": "context_length_exceeded"}}',
    b"The prompt (80 tokens) is longer than the maximum model length of 64",
    b"prompt is too long: 80 tokens > 64 maximum",
]


@pytest.mark.parametrize("told_so", TOO_LONG)
def test_a_conversation_that_is_too_long_is_a_flaw_and_no_end(told_so: bytes):
    found, calls = asked_of(Answer(400, told_so))
    assert (found.text, found.flaw) == ("", Flaw.TOO_LONG)
    assert len(calls) == 1


def test_what_a_server_does_not_take_is_renamed_or_left_out():
    def reasoning(call: Call) -> Answer:
        asked = json.loads(call.body)
        if "max_tokens" in asked:
            return Answer(400, b"'max_tokens' is not supported: use 'max_completion_tokens'")
        if "seed" in asked or "top_p" in asked:
            return Answer(422, b"Extra inputs are not permitted: seed, top_p")
        return told({"content": "Ann"})

    found, calls = asked_of(reasoning, max_tokens=9)
    assert found.text == "Ann"
    last = json.loads(calls[-1].body)
    assert last["max_completion_tokens"] == 9
    assert not {"max_tokens", "seed", "top_p"} & last.keys()
    assert len(calls) == 3


def test_a_nucleus_that_was_asked_for_is_not_left_out():
    with pytest.raises(BadInput, match="top_p is not supported"):
        asked_of(Answer(400, b"top_p is not supported"), top_p=0.5)


def test_the_same_server_is_asked_briefly():
    settings = Sampling(max_tokens=99)
    with serving(lambda _: told({"content": "Ann"})) as server:
        endpoint = Endpoint(url=f"{server.url}/v1", model="m")
        teacher = ChatEndpoint(endpoint, None, settings, Budget(None))
        asked = [answers.ask("who?", "Ann did.", settings)]
        for one in (teacher.brief(5), teacher):
            one.answer(asked)
        teacher.close()
    assert [json.loads(call.body)["max_tokens"] for call in server.calls] == [5, 99]
