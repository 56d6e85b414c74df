"""Tokens of pods: asked of a real server beside the passes, once a process, and compared."""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import aiohttp
import pages
import pytest
import servers
import tiny_causal
import tiny_models
from aiohttp import web
from distill_api.rollout_arms import Runtime
from distill_api.teacher import Prompts
from distill_api.token_ids import TOKEN_IDS_FILE
from distill_operator.effects.rollout import tokens
from distill_operator.effects.rollout.scrape import Target
from distill_operator.effects.rollout.tokens import PAUSE, TokenChecks
from distill_operator.plan.rollout.model import Arm, ObservedTokens, PodTokens
from distill_trainer.students import chat_ids, make, token_ids
from transformers import PreTrainedTokenizerFast

NOW: Final = datetime(2026, 11, 26, tzinfo=UTC)


def a_target(url: str, uid: str = "u", runtime: Runtime = Runtime.ONNX_RUNTIME) -> Target:
    return Target(Arm.STUDENT, f"pod-{uid}", uid, f"{url}/metrics", runtime, NOW, NOW)


async def compared(url: str, **changes: Runtime) -> PodTokens:
    async with aiohttp.ClientSession() as session:
        return await tokens.compare(session, a_target(url, **changes))


# Against a real server.


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Publish a student as the train stage leaves it."""
    folder, prompts = tmp_path_factory.mktemp("student"), Prompts(query="a0 a1 ", document="")
    made = tiny_models.teacher()
    made.prompts = {"query": prompts.query, "document": prompts.document}
    make.save(made, folder)
    token_ids.write(made, prompts, folder)
    return folder


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Start]:
    running: list[servers.Running] = []

    def begin(folder: Path) -> servers.Running:
        running.append(servers.Running(servers.settings(folder, runtime="Torch")))
        return running[-1]

    yield begin
    for one in running:
        one.stop()


@pytest.fixture(scope="module")
def url(serve: servers.Start, student: Path) -> str:
    made: servers.Running = serve(student)
    return made.url


async def test_a_student_that_is_served_as_published_reads_the_same(url: str, student: Path):
    content = (student / TOKEN_IDS_FILE).read_bytes()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert await compared(url) == PodTokens(texts=18, digest=digest)


async def test_another_limit_than_in_training_is_found_with_both_sequences(
    serve: servers.Start, student: Path, tmp_path: Path
):
    folder = tmp_path / "spoilt"
    spoilt = tiny_models.teacher()
    spoilt.prompts = {"query": "a0 a1 ", "document": ""}
    spoilt.max_seq_length = 16
    make.save(spoilt, folder)
    shutil.copyfile(student / TOKEN_IDS_FILE, folder / TOKEN_IDS_FILE)
    found = (await compared(serve(folder).url)).difference
    assert found is not None
    assert len(found.served) == 16 < len(found.trained)
    assert found.name.startswith("the query ")


async def test_a_prompt_that_was_lost_is_found(serve: servers.Start, student: Path, tmp_path: Path):
    folder = tmp_path / "bare"
    make.save(tiny_models.teacher(), folder)
    shutil.copyfile(student / TOKEN_IDS_FILE, folder / TOKEN_IDS_FILE)
    found = (await compared(serve(folder).url)).difference
    assert found is not None
    assert (found.name, found.text) == ("the query 'short'", "a")
    assert len(found.trained) == len(found.served) + 2


async def test_an_artifact_without_the_file_is_unchecked(
    serve: servers.Start, student: Path, tmp_path: Path
):
    folder = tmp_path / "older"
    shutil.copytree(student, folder)
    (folder / TOKEN_IDS_FILE).unlink()
    found = await compared(serve(folder).url)
    assert found.absent is not None
    assert found.problem is found.difference is None


async def test_of_a_triton_with_another_repository_nothing_is_compared():
    async with pages.served() as other:
        found = await compared(other, runtime=Runtime.TRITON)
    assert found.problem is None
    assert "has no model student__tokens" in (found.absent or "")


class Writer:
    """What vLLM answers of a model that writes: `/tokenize` by a tokenizer, the file beside it."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, file: str | None) -> None:
        self.tokenizer, self.file = tokenizer, file

    async def handed(self, _: web.Request) -> web.Response:
        return web.Response(text=self.file or "", status=200 if self.file else 404)

    async def tokenize(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if "messages" in asked:
            text = self.tokenizer.apply_chat_template(
                asked["messages"], tokenize=False, add_generation_prompt=True
            )
            ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        else:
            ids = self.tokenizer(asked["prompt"])["input_ids"]
        return web.json_response({"count": len(ids), "max_model_len": 256, "tokens": ids})

    async def compared(self) -> PodTokens:
        routes = web.get("/v1/token-ids", self.handed), web.post("/tokenize", self.tokenize)
        async with pages.served(*routes) as address:
            return await compared(address, runtime=Runtime.VLLM)


CHAT: Final = [{"role": "user", "content": "a1 b2"}]


def of_training() -> str:
    made = chat_ids.make(tiny_causal.tokenizer(), CHAT)
    return made.model_dump_json(by_alias=True, exclude_none=True)


async def test_a_writer_that_is_served_with_its_template_reads_the_same():
    file = of_training()
    found = await Writer(tiny_causal.tokenizer(), file).compared()
    assert found == PodTokens(17, None, f"sha256:{hashlib.sha256(file.encode()).hexdigest()}")


async def test_a_writer_with_another_template_is_found_with_both_sequences():
    spoilt = tiny_causal.tokenizer()
    spoilt.chat_template = tiny_causal.TEMPLATE.replace("{{ bos_token }}", "")
    found = (await Writer(spoilt, of_training()).compared()).difference
    assert found is not None
    assert found.name.startswith("the chat ")
    assert found.trained[1:] == found.served


async def test_a_writer_by_an_image_that_hands_nothing_over_is_unchecked():
    found = await Writer(tiny_causal.tokenizer(), None).compared()
    assert "server-image/vllm" in str(found.absent)


# Faults.


class Page:
    """A server that says what a test wants, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.status, self.text = 200, "{}"

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(status=self.status, text=self.text)


@pytest.fixture
def page() -> Page:
    return Page()


@pytest.fixture
async def broken(page: Page) -> AsyncIterator[str]:
    async with pages.served(web.get("/v1/token-ids", page.answer)) as address:
        yield address


async def test_what_goes_wrong_is_a_problem_and_no_verdict(page: Page, broken: str):
    found = await compared(broken)
    assert found.problem == "samples is not as it should be: Field required"
    page.status = 500
    assert "answered 500" in ((await compared(broken)).problem or "")
    assert "cannot be read" in ((await compared("http://127.0.0.1:1")).problem or "")


# Beside the passes.


class Room:
    """Checks with a clock of the test's own."""

    def __init__(self) -> None:
        self.now, self.woken = 100.0, 0
        self.checks = TokenChecks(self._wake, lambda: self.now)
        self.heard = asyncio.Event()

    def _wake(self, _: str) -> None:
        self.woken += 1
        self.heard.set()

    async def told(self) -> ObservedTokens:
        async with asyncio.timeout(20):
            await self.heard.wait()
        self.heard.clear()
        return self.checks.take("r")


async def test_a_process_is_asked_once_and_a_new_one_anew(page: Page, broken: str):
    room, target = Room(), a_target(broken)
    page.status = 404
    assert room.checks.take("r") == ObservedTokens(known=False)
    room.checks.begin("r", [target])
    assert room.checks.take("r") == ObservedTokens()
    assert (await room.told()).pods["u"].absent is not None
    room.now += 100 * PAUSE
    room.checks.begin("r", [target])
    assert page.asked == 1

    room.checks.begin("r", [replace(target, started=NOW + timedelta(seconds=1))])
    await room.told()
    assert page.asked == 2
    await room.checks.close()


async def test_a_pod_that_does_not_answer_is_asked_again_after_a_pause(page: Page, broken: str):
    room, target = Room(), a_target(broken)
    page.status = 500
    room.checks.begin("r", [target])
    assert (await room.told()).pods["u"].problem is not None
    room.now += PAUSE - 1
    room.checks.begin("r", [target])
    assert page.asked == 1

    page.status, room.now = 404, room.now + 1
    room.checks.begin("r", [target])
    assert room.checks.take("r").pods["u"].problem is not None, "until there is another answer"
    assert (await room.told()).pods["u"].absent is not None
    await room.checks.close()


async def test_pods_that_are_gone_are_forgotten_and_a_rollout_too(page: Page, broken: str):
    room = Room()
    page.status = 404
    room.checks.begin("r", [a_target(broken, "one"), a_target(broken, "two")])
    await room.told()
    room.checks.begin("r", [a_target(broken, "two")])
    assert room.checks.take("r").pods.keys() <= {"two"}
    room.checks.forget("r")
    assert not room.checks.take("r").known
    await room.checks.close()
