"""The program as a pod runs it: started by flags, told to stop by SIGTERM."""

import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

DRAIN = 4.0
HOLD = 1.0
"""Seconds that every request takes, as no batch fills up."""


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
        *("--arm", "teacher", "--max-wait-ms", str(1000 * HOLD)),
        DISTILL_SERVER_DRAIN_SECONDS=str(DRAIN),
    )
    yield made
    made.process.kill()
    made.process.wait()


@pytest.mark.slow
def test_an_idle_connection_is_the_gateways_to_close(process: Process) -> None:
    """By uvicorn's default it is closed after 5 s, and what is sent just then is lost."""
    place = urlsplit(process.url())
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=120)
    for pause in (0, 7):
        time.sleep(pause)
        # The same socket both times: http.client opens no second one.
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        assert (answer.status, answer.will_close) == (200, False)
        answer.read()
    connection.close()


@pytest.mark.slow
def test_a_drain_loses_no_request_and_ends_with_0(process: Process):
    url = process.url()
    told_at: list[float] = []

    def ask(client: httpx.Client) -> httpx.Response:
        # A new connection each time, as from a gateway that has not heard of the drain.
        headers = {"connection": "close"}
        return client.post(f"{url}/v1/embeddings", json={"input": "a1"}, headers=headers)

    def go_on_asking() -> list[int]:
        with httpx.Client(timeout=120) as client:
            statuses = [ask(client).status_code]
            while not told_at or time.monotonic() < told_at[0] + DRAIN - 2 * HOLD:
                statuses.append(ask(client).status_code)
        return statuses

    def ask_late() -> tuple[int | None, float]:
        """Return the status, None where the port was closed, and the seconds since the signal."""
        with httpx.Client(timeout=120) as client:
            try:
                status = ask(client).status_code
            except httpx.ConnectError:
                status = None
        return status, time.monotonic() - told_at[0]

    with ThreadPoolExecutor(16) as callers, httpx.Client(timeout=120) as client:
        asking = [callers.submit(go_on_asking) for _ in range(4)]
        time.sleep(HOLD)
        told_at.append(time.monotonic())
        process.process.send_signal(signal.SIGTERM)
        _until_unready(client, url)
        unready = time.monotonic() - told_at[0]
        alive = client.get(f"{url}/healthz")
        # One alone could come too late where the machine is busy.
        time.sleep(max(0.0, told_at[0] + DRAIN - HOLD - time.monotonic()))
        late = []
        for _ in range(10):
            late.append(callers.submit(ask_late))
            time.sleep(HOLD / 10)
        statuses = [status for one in asking for status in one.result()]
        last = [one.result() for one in late]
    assert process.process.wait(20) == 0
    assert unready < DRAIN / 2
    assert (alive.status_code, alive.headers["connection"]) == (200, "close")
    assert statuses == [200] * len(statuses)
    assert len(statuses) >= 8
    # Only a port that was due to close refuses, and what was in flight then is answered.
    assert all(status == 200 or ended >= DRAIN for status, ended in last), last
    assert any(status == 200 and ended > DRAIN for status, ended in last), last


def _until_unready(client: httpx.Client, url: str) -> None:
    while client.get(f"{url}/readyz").status_code == 200:
        time.sleep(0.01)


PROGRAMS = {
    "the server": ["distill_server", "--model", "/nowhere"],
    "the prober": ["distill_server.prober"],
}


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: process namespaces are made by it")
def test_sigterm_ends_process_1_while_libraries_are_still_being_loaded(program: str):
    # -X importtime tells when the handlers are in place and the rest is not.
    command = [sys.executable, "-X", "importtime", "-m", *PROGRAMS[program]]
    namespace = ["unshare", "--pid", "--fork", "--kill-child"]
    with subprocess.Popen([*namespace, *command], stderr=subprocess.PIPE, text=True) as outer:
        assert outer.stderr is not None
        for line in outer.stderr:
            if line.rstrip().endswith("| distill_server.stopping"):
                break
        for line in outer.stderr:
            if "pydantic_settings" in line or "| numpy" in line:
                break
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        rest = outer.stderr.read()
        status = outer.wait(20)
    assert status == 128 + signal.SIGTERM
    assert "told to stop by signal 15 before anything was served" in rest


@pytest.mark.slow
def test_a_folder_that_cannot_be_served_ends_the_process_with_the_reason(tmp_path: Path):
    started = Process(tmp_path / "log", "--model", str(tmp_path / "nowhere"))
    assert started.process.wait(240) == 78
    last = started.log.read_text().splitlines()[-1]
    assert "there is no folder" in last
    assert "mount the model there, or set --model" in last
