"""Copies of users' requests: what is read out of them, and how agreement is scored."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np
import pytest
from distill_server.prober import agreement, mirror
from distill_server.prober.agreement import ATTEMPTS, Agreement, NothingTold
from distill_server.prober.arms import ArmFailed, Numbers, Why
from distill_server.prober.both import Both
from distill_server.prober.comparing import ModelChanged
from distill_server.prober.ledger import Ledger, Run
from distill_server.prober.material import Query
from distill_server.prober.mirror import WAITING, Asked, Fate, Inbox
from distill_server.prober.pace import Pace
from distill_server.prober.telemetry import Telemetry

WANTED = {"agreement": "nDCG@10"}


@pytest.mark.parametrize(
    "body",
    [
        {"input": ["one", "two"]},
        {"input": "a passage", "input_type": "document"},
        {"input": [[1, 2]]},
        {"input": ""},
        {"vote": 1},
    ],
)
def test_what_is_no_query_is_left_alone(body: object):
    assert mirror.read("Embedding", "/v1/embeddings", json.dumps(body).encode()) is None


def test_a_query_is_read_with_the_documents_of_its_request():
    body = {"query": "q", "documents": ["a", {"text": "b"}, "a"]}
    assert mirror.read("Reranker", "/v1/rerank", json.dumps(body).encode()) == Asked(
        "q", ("a", "b")
    )
    assert mirror.read("Embedding", "/v1/embeddings", b'{"input": ["q"], "model": "m"}') == Asked(
        "q"
    )
    assert mirror.read("Embedding", "/v1/embeddings", b"\xff not json") is None


INFER = "/v2/models/search/infer"


def _inferred(parameters: dict[str, str] | None = None, **texts: list[str]) -> bytes:
    inputs = [{"name": name, "data": own} for name, own in texts.items()]
    return json.dumps({"inputs": inputs, "parameters": parameters or {}}).encode()


def test_a_query_is_read_out_of_tensors_as_well():
    body = _inferred(query=["q"], documents=["a", "b"])
    assert mirror.read("Reranker", INFER, body) == Asked("q", ("a", "b"))
    assert mirror.read("Embedding", INFER, _inferred(text=["q"])) == Asked("q")
    asked = {"input_type": "query"}
    assert mirror.read("Embedding", INFER, _inferred(asked, text=["q"])) == Asked("q")


@pytest.mark.parametrize(
    "body",
    [
        _inferred(text=["one", "two"]),
        _inferred({"input_type": "document"}, text=["a passage"]),
        _inferred(ids=["1"]),
        b'{"inputs": [{"name": "text", "data": [1]}]}',
    ],
)
def test_tensors_without_a_query_are_left_alone(body: bytes):
    assert mirror.read("Embedding", INFER, body) is None


def test_a_text_counts_once_and_what_is_too_much_is_dropped_and_may_come_again():
    fates: Counter[Fate] = Counter()
    inbox = Inbox("Embedding", 1000, lambda fate: fates.update([fate]))
    for n in [0, *range(WAITING + 5)]:
        inbox.take("/v1/embeddings", json.dumps({"input": f"q{n}"}).encode(), probe=False)
    inbox.take("/v1/embeddings", b'{"input": "q"}', probe=True)
    inbox.take("/v1/feedback", b'{"input": "q"}', probe=False)
    inbox.take("/v1/embeddings", None, probe=False)
    assert fates == {
        Fate.TAKEN: WAITING,
        Fate.REPEATED: 1,
        Fate.DROPPED: 5,
        Fate.PROBE: 1,
        Fate.UNREADABLE: 2,
    }


def test_the_teacher_agrees_with_itself_and_a_student_that_turns_it_round_does_not():
    teacher = np.linspace(1, 0, 50, dtype=np.float32)
    assert agreement.compared(teacher, teacher, WANTED) == {"agreement": (1.0, 1.0)}
    assert agreement.compared(teacher, -teacher, WANTED) == {"agreement": (0.0, 1.0)}


def test_a_tie_at_the_end_of_the_answers_costs_the_teacher_nothing():
    teacher = np.array([3, 2, 2, 2, 1, 0], dtype=np.float32)
    assert agreement.compared(teacher, teacher, WANTED) == {"agreement": (1.0, 1.0)}
    with pytest.raises(NothingTold):
        agreement.compared(np.ones(5, np.float32), teacher[:5], WANTED)


class Asking:
    """An inbox to which texts are written, and what became of them."""

    def __init__(self, most: int = 1000) -> None:
        self.fates: list[Fate] = []
        self.inbox = Inbox("Embedding", most, self.fates.append)

    def ask(self, text: str) -> Fate:
        body = json.dumps({"input": text}).encode()
        self.inbox.take("/v1/embeddings", body, probe=False)
        return self.fates[-1]


async def test_a_text_is_a_new_sample_for_other_models_and_none_for_those_that_come_back():
    asking = Asking()
    asking.inbox.begin("teacher one")
    assert asking.ask("q") is Fate.TAKEN
    await asking.inbox.next()
    asking.inbox.begin("teacher two")
    assert asking.ask("q") is Fate.TAKEN
    await asking.inbox.next()
    asking.inbox.begin("teacher one")
    assert asking.ask("q") is Fate.REPEATED


async def test_what_still_waits_when_a_run_ends_is_sent_in_the_next_one():
    asking = Asking(most=3)
    assert asking.inbox.begin("teacher one") == 3
    asking.ask("sent")
    await asking.inbox.next()
    asking.ask("waits")
    assert asking.inbox.begin("teacher one") == 2
    assert (await asking.inbox.next()).text == "waits"
    assert asking.ask("waits") is Fate.REPEATED
    assert asking.ask("last") is Fate.TAKEN
    assert asking.ask("too much") is Fate.ENOUGH


@dataclass
class Fault:
    """An arm that answers as a test says."""

    answer: Callable[[], Awaitable[Numbers]]
    digest: str = "sha256:1"
    asked: int = 0

    async def score(self, query: Query) -> Numbers:
        raise AssertionError(f"{query} is none of users")

    async def rank(self, asked: Asked) -> Numbers:
        assert asked.text.startswith("private")
        self.asked += 1
        return await self.answer()


async def fine() -> Numbers:
    return np.linspace(1, 0, 50, dtype=np.float32)


def raising(error: Exception) -> Callable[[], Awaitable[Numbers]]:
    async def answer() -> Numbers:
        raise error

    return answer


def refused(why: Why) -> ArmFailed:
    return ArmFailed("student", why, "/v1/embeddings answered", '{"input": "private"}')


class Prompt(Pace):
    """No waiting between two tries."""

    pause = 0.0


async def settled(teacher: Fault, student: Fault, queries: int = 1) -> tuple[Ledger, Pace]:
    """Let queries be sent, and wait until they are done with."""
    ledger, pace, asking = Ledger(Run("m", "t", "s"), ("agreement",), 9), Prompt(0.0), Asking()
    telemetry = Telemetry(("agreement",))
    work = Agreement(Both(teacher, student), ledger, asking.inbox, telemetry, pace)
    for number in range(queries):
        assert asking.ask(f"private {number}") is Fate.TAKEN
    async with asyncio.timeout(30):
        running = asyncio.create_task(work.run(WANTED))
        while ledger.total < queries and not running.done():  # noqa: ASYNC110 - a ledger tells nobody
            await asyncio.sleep(0.01)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    return ledger, pace


async def test_a_query_that_a_model_refuses_is_sent_once():
    student = Fault(raising(refused(Why.REFUSED)))
    ledger, _ = await settled(Fault(fine), student)
    assert (student.asked, ledger.after(0).numbers, ledger.total) == (1, [], 1)


async def test_queries_that_both_models_refuse_are_no_fault_of_the_arms():
    teacher, student = (Fault(raising(refused(Why.REFUSED))) for _ in range(2))
    ledger, pace = await settled(teacher, student, queries=5)
    assert (ledger.total, student.asked) == (5, 5)
    assert pace.failing is None


async def test_queries_that_only_the_student_refuses_are_said():
    ledger, pace = await settled(Fault(fine), Fault(raising(refused(Why.REFUSED))), queries=5)
    assert ledger.total == 5
    assert "the student gave no answer" in (pace.failing or "")


async def test_an_arm_that_fails_is_asked_again_and_no_sentence_repeats_the_query():
    student = Fault(raising(refused(Why.TIMEOUT)))
    ledger, pace = await settled(Fault(fine), student)
    assert (student.asked, ledger.after(0).numbers, ledger.total) == (ATTEMPTS, [], 1)
    assert pace.failing is not None
    assert "the student gave no answer: /v1/embeddings answered" in pace.failing
    assert "private" not in pace.failing, "what an arm says may repeat what it was asked"


async def test_one_arm_that_fails_leaves_no_request_of_the_other_running():
    ended: list[str] = []

    async def slow() -> Numbers:
        await asyncio.sleep(0.05)
        ended.append("slow")
        return await fine()

    student = Fault(raising(refused(Why.FAILED)))
    with pytest.raises(ExceptionGroup):
        await Both(Fault(slow), student).ask(lambda arm: arm.rank(Asked("private")))
    assert ended == ["slow"]


async def test_another_model_ends_the_run_even_where_the_other_arm_failed_too():
    with pytest.raises(ExceptionGroup) as caught:
        await settled(Fault(raising(ModelChanged("teacher"))), Fault(raising(refused(Why.FAILED))))
    assert caught.group_contains(ModelChanged)
