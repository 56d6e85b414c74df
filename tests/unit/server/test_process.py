"""The program as a pod runs it: started by flags, told to stop by SIGTERM."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

DRAIN = 1.5


class Process:
    """`python -m distill_server` with its log in a file."""

    def __init__(self, log: Path, *flags: str, **environment: str) -> None:
        self.log = log
        command = [sys.executable, "-m", "distill_server", "--host", "127.0.0.1", "--port", "0"]
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                [*command, *flags],
                stderr=stream,
                env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            )

    def url(self) -> str:
        ends = time.monotonic() + 240
        while not (found := re.search(r"running on (http://\S+)", self.log.read_text())):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < ends, self.log.read_text()
            time.sleep(0.1)
        return found[1]


@pytest.fixture
def process(student: Path, tmp_path: Path) -> Iterator[Process]:
    made = Process(
        tmp_path / "log",
        *("--model", str(student), "--served-model-name", "tiny", "--runtime", "Torch"),
        *("--arm", "teacher", "--latency-limits-ms", "150,120"),
        DISTILL_SERVER_DRAIN_SECONDS=str(DRAIN),
    )
    yield made
    made.process.kill()
    made.process.wait()


@pytest.mark.slow
def test_a_drain_loses_no_request_and_ends_with_0(process: Process):
    url = process.url()
    told = False

    def ask(number: int) -> tuple[int, list[int], bool]:
        """Ask on new connections until the port is closed; anything else that fails is a loss."""
        statuses, closing = [], False
        while True:
            try:
                found = httpx.post(f"{url}/v1/embeddings", json={"input": f"a{number}"}, timeout=30)
            except httpx.ConnectError:
                assert told, "the port closed before anybody asked for it"
                return number, statuses, closing
            statuses.append(found.status_code)
            closing = closing or found.headers.get("connection") == "close"

    with ThreadPoolExecutor(4) as callers:
        asking = [callers.submit(ask, number) for number in range(4)]
        time.sleep(0.5)
        told, began = True, time.monotonic()
        process.process.send_signal(signal.SIGTERM)
        unready = _first_refusal(f"{url}/readyz") - began
        alive = httpx.get(f"{url}/healthz").status_code
        found = [one.result() for one in asking]
    took = time.monotonic() - began
    assert unready < DRAIN / 2
    assert alive == 200
    assert process.process.wait(10) == 0
    assert took >= DRAIN
    assert all(closing for _, _, closing in found)
    assert {status for _, statuses, _ in found for status in statuses} == {200}
    assert min(len(statuses) for _, statuses, _ in found) >= 3


def _first_refusal(url: str) -> float:
    while httpx.get(url).status_code == 200:
        time.sleep(0.01)
    return time.monotonic()


@pytest.mark.slow
def test_a_folder_that_cannot_be_served_ends_the_process_with_the_reason(tmp_path: Path):
    started = Process(tmp_path / "log", "--model", str(tmp_path / "nowhere"))
    assert started.process.wait(240) == 78
    last = started.log.read_text().splitlines()[-1]
    assert "there is no folder" in last
    assert "mount the model there, or set --model" in last
