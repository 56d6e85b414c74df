"""Many callers at once, too many, impatient ones, and ones that leave."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from servers import Running, Start
from tiny_models import WORDS

HOLD_MS = 800.0
"""How long the small server waits for a batch that no test fills."""
ROOM = 8


@pytest.fixture(scope="module")
def small(start: Start, student: Path) -> Running:
    """Serve with room for 8 sequences that stay in the queue for a known time."""
    return start(
        student, runtime="Torch", max_queue=ROOM, max_inputs=ROOM, max_wait_ms=HOLD_MS, max_batch=64
    )


@pytest.fixture
def client(small: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=small.url, timeout=120) as made:
        yield made


def _metric(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    (value,) = [line.split()[1] for line in lines if line.startswith(f"distill_server_{name} ")]
    return float(value)


def _until_waiting(client: httpx.Client, count: int) -> None:
    ends = time.monotonic() + 120
    while _metric(client, "queue_depth") != count:
        assert time.monotonic() < ends, f"the queue never held {count}"
        time.sleep(0.005)


async def test_fifty_callers_at_once_get_their_own_answers_from_shared_batches(
    server: Running, student: Path
):
    generator = np.random.default_rng(5)
    asked = [
        [" ".join(generator.choice(WORDS, generator.integers(1, 25))) for _ in range(1 + n % 4)]
        for n in range(150)
    ]
    oracle = SentenceTransformer(str(student), device="cpu")
    at_once = asyncio.Semaphore(50)
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:

        async def ask(texts: list[str]) -> np.ndarray:
            async with at_once:
                found = await client.post("/v1/embeddings", json={"input": texts})
            return np.array([one["embedding"] for one in found.json()["data"]])

        answers = await asyncio.gather(*map(ask, asked))
        metrics = (await client.get("/metrics")).text
    for texts, rows in zip(asked, answers, strict=True):
        assert np.abs(rows - oracle.encode(texts, prompt="")).max() < 1e-5
    batches = float(metrics.split("distill_server_batch_size_count ")[1].split()[0])
    sequences = float(metrics.split("distill_server_batch_size_sum ")[1].split()[0])
    assert sequences >= sum(map(len, asked))
    assert sequences / batches > 2, "callers did not share batches"


def test_a_full_queue_sends_callers_away_and_serves_those_who_wait(
    client: httpx.Client, small: Running
):
    answers: list[httpx.Response] = []
    body = {"input": ["a1"] * ROOM}
    first = threading.Thread(
        target=lambda: answers.append(httpx.post(f"{small.url}/v1/embeddings", json=body))
    )
    first.start()
    _until_waiting(client, ROOM)
    refused = client.post("/v1/embeddings", json={"input": "a1"})
    first.join()
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert "8 sequences wait already and at most 8 may" in refused.json()["error"]["message"]
    assert answers[0].status_code == 200
    assert len(answers[0].json()["data"]) == ROOM


def test_a_caller_that_leaves_makes_room_at_once(client: httpx.Client, small: Running):
    before = _metric(client, "cancelled_requests_total")
    body = json.dumps({"input": ["a1"] * ROOM}).encode()
    head = f"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    computed = _metric(client, "batch_size_sum")
    with socket.create_connection(small.address) as leaving:
        leaving.sendall(head.encode() + body)
        _until_waiting(client, ROOM)
    _until_waiting(client, 0)
    assert _metric(client, "cancelled_requests_total") == before + 1
    stays = client.post("/v1/embeddings", json={"input": ["a1"] * ROOM})
    assert stays.status_code == 200
    assert _metric(client, "batch_size_sum") == computed + ROOM


def test_a_request_is_given_up_when_its_gateway_no_longer_waits(client: httpx.Client):
    began = time.monotonic()
    late = client.post(
        "/v1/embeddings", json={"input": "a1"}, headers={"x-envoy-expected-rq-timeout-ms": "50"}
    )
    assert late.status_code == 504
    assert "not computed within 0.05 s" in late.json()["error"]["message"]
    assert time.monotonic() - began < HOLD_MS / 1000
    _until_waiting(client, 0)


def test_a_batch_that_fails_is_its_own_callers_error_and_the_next_one_works(
    client: httpx.Client, small: Running, monkeypatch: pytest.MonkeyPatch
):
    queue = small.server.config.app._app.state.service.queue  # type: ignore[union-attr]
    whole = queue._compute

    def broken(_batch: object) -> np.ndarray:
        raise RuntimeError("out of memory with a user's text in it")

    monkeypatch.setattr(queue, "_compute", broken)
    failed = client.post("/v1/embeddings", json={"input": "a1"})
    monkeypatch.setattr(queue, "_compute", whole)
    works = client.post("/v1/embeddings", json={"input": "a1"})
    assert (failed.status_code, works.status_code) == (500, 200)
    assert failed.json()["error"]["type"] == "server_error"
    assert "user's text" not in failed.text
