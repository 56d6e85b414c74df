"""A model that writes is asked as it was trained to be, and its answers held against references."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from distill_api.rollout_policies import Generation
from distill_common.rows import BadRows, Question
from distill_server.prober import comparing, prompts
from distill_server.prober.arms import Arm, ArmFailed, Why
from distill_server.prober.comparing import ModelChanged, Ranker
from distill_server.prober.prompts import Prompts
from distill_server.prober.settings import Settings
from pydantic import ValidationError

ROWS = [Question(f"q{n}?", f"c{n}", f"word{n} b c") for n in range(9)]
WANTED = {"f1": "TokenF1", "rouge": "ROUGE-L"}


def chosen(rows: list[Question], most: int = 100, models: str = "", **how: object) -> Prompts:
    generation = Generation.model_validate(how)
    return prompts.choose(rows, generation, most=most, models=models)


def test_the_order_of_the_data_chooses_nothing():
    assert chosen(ROWS, 4) == chosen(ROWS[::-1], 4)
    assert len(chosen(ROWS, 4).questions) == 4
    assert chosen([*ROWS, ROWS[0]]).count == 9


def test_other_models_and_other_words_make_another_run():
    digests = {
        chosen(ROWS).digest,
        chosen(ROWS, models="a-b").digest,
        chosen(ROWS, max_tokens=8).digest,
        chosen(ROWS[1:]).digest,
    }
    assert len(digests) == 4


def test_data_without_references_is_refused_with_what_to_do():
    with pytest.raises(BadRows, match="no question with a reference answer"):
        chosen([Question("q", "c")])


def test_it_is_asked_with_its_context_and_system_message():
    asked = chosen([Question("q?", "c", "a")], system_prompt="Be kind.", chain_of_thought=True)
    system, user = asked.messages(1)
    assert system == {"role": "system", "content": "Be kind."}
    assert "Context: c\n\nQuestion: q?" in user["content"]
    assert "<think>" in user["content"]


class Vllm:
    """vLLM's answers, as `say` gives them to what is asked."""

    def __init__(self, say: Callable[[str], str | None], digest: str = "") -> None:
        self.say, self.digest = say, digest
        self.bodies: list[dict[str, object]] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.bodies.append({"path": request.url.path, **body})
        message = {"role": "assistant", "content": self.say(body["messages"][-1]["content"])}
        headers = {"x-model-digest": self.digest} if self.digest else {}
        return httpx.Response(200, json={"choices": [{"message": message}]}, headers=headers)


async def measured(server: Vllm, number: int = 1) -> dict[str, float]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(server.answer)) as client:
        return await (await prepared(client)).measured(number, WANTED)


async def prepared(client: httpx.AsyncClient) -> Ranker:
    arm = Arm(client, "student", "http://student", "m")
    return await comparing.prepare(arm, chosen(ROWS), "Generator", lambda _: None)


async def test_answers_are_measured_by_their_words():
    first = chosen(ROWS).questions[0].reference
    assert await measured(Vllm(lambda _: first)) == {"f1": 1.0, "rouge": 1.0}
    # Two of three words of the reference and of the answer; in the other order one in a row.
    found = await measured(Vllm(lambda _: "c b x"))
    assert found == {"f1": pytest.approx(2 / 3), "rouge": pytest.approx(1 / 3)}
    assert await measured(Vllm(lambda _: None)) == {"f1": 0.0, "rouge": 0.0}


async def test_reasoning_is_no_answer():
    reference = chosen(ROWS).questions[0].reference
    found = await measured(Vllm(lambda _: f"<think>so many words</think> {reference}"))
    assert found["f1"] == 1.0


async def test_it_is_asked_for_its_likeliest_words_where_users_are_not_counted():
    server = Vllm(lambda _: "x")
    await measured(server)
    asked = server.bodies[-1]
    assert (asked["path"], asked["temperature"], asked["max_tokens"]) == ("/invocations", 0, 256)


async def test_another_model_behind_the_same_address_is_noticed():
    server = Vllm(lambda _: "x", "sha256:1")
    async with httpx.AsyncClient(transport=httpx.MockTransport(server.answer)) as client:
        writer = await prepared(client)
        server.digest = "sha256:2"
        with pytest.raises(ModelChanged, match="the student answers with another model"):
            await writer.measured(1, WANTED)


async def test_an_answer_without_a_choice_is_none():
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"choices": []}))
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(ArmFailed) as caught:
            await prepared(client)
    assert caught.value.why is Why.UNREADABLE


FLAGS = {"teacher_url": "http://t", "student_url": "http://s", "source": {"uri": "file:///x"}}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"component": "Generator", "measure": {"q": "nDCG@10"}}, "nDCG@10 is none of answers"),
        ({"component": "Embedding", "measure": {"q": "TokenF1"}}, "TokenF1 is none of retrieval"),
        (
            {"component": "Generator", "mirrored_measure": {"q": "TokenF1"}},
            "nobody knows what answers users' questions",
        ),
    ],
)
def test_flags_that_cannot_work_are_refused(given: dict[str, object], said: str):
    with pytest.raises(ValidationError, match=said):
        Settings.model_validate({**FLAGS, **given})


def test_questions_are_read_from_a_file(tmp_path: Path):
    from distill_server.prober import sources

    def lines() -> Iterator[str]:
        for one in ROWS:
            yield json.dumps({"query": one.query, "context": one.context, "answer": one.answer})

    (tmp_path / "held-out.jsonl").write_text("\n".join(lines()) + "\n")
    found = sources.load(
        Settings.model_validate(
            {
                **FLAGS,
                "component": "Generator",
                "source": {"uri": f"file://{tmp_path}/held-out.jsonl"},
                "measure": {"f1": "TokenF1"},
                "generation": {"maxTokens": 8},
                "max_queries": 5,
            }
        )
    )
    assert isinstance(found, Prompts)
    assert (found.count, found.generation.max_tokens) == (5, 8)
