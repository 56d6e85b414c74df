"""The server as a process of its own: the program of the server image, as a pod would run it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from distill_trainer.benchmarking import last_words
from distill_trainer.benchmarking.serving import NAME, State, until_ready

START_SECONDS: Final = 900.0
"""Longest time until a model is loaded, exported and verified."""
STOP_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is served, and how."""

    model: Path
    runtime: str
    threads: int
    scratch: Path
    """For the log, and for caches such as exported graphs."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that takes requests."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def peak_memory(self) -> int:
        """Return the largest resident memory of the process so far, in bytes.

        Raises NotServed where it has ended: what the load killed has not borne it.
        """
        _state(self.process, self.log).refuse_the_end("it ended under the load")
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        line = next(one for one in status.splitlines() if one.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])

    def cpu_seconds(self) -> float:
        """Return nothing: a process of this container is counted when it has ended."""
        return 0.0


@contextmanager
def running(plan: Plan, check: Callable[[], None]) -> Iterator[Server]:
    """Run a server until the block ends. check: may raise to stop waiting for it.

    Raises NotServed where it ends before it is ready.
    """
    plan.scratch.mkdir(parents=True, exist_ok=True)
    port, log = _free_port(), plan.scratch / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(plan, port), stdout=output, stderr=subprocess.STDOUT, env=_environment(plan)
        )
    try:
        url = f"http://127.0.0.1:{port}"
        until_ready("it", f"{url}/readyz", START_SECONDS, lambda: _state(process, log), check)
        yield Server(url, process, log)
    finally:
        _stop(process)


def _command(plan: Plan, port: int) -> list[str]:
    flags = {
        "model": plan.model,
        "served-model-name": NAME,
        "runtime": plan.runtime,
        "threads": plan.threads,
        "host": "127.0.0.1",
        "port": port,
        "drain-seconds": 0,
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "distill_server", *words]


def _environment(plan: Plan) -> Mapping[str, str]:
    """Keep caches in the pod's own folder; settings of a server around us are not meant for it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DISTILL_SERVER")}
    return kept | {"XDG_CACHE_HOME": str(plan.scratch / "cache"), "HF_HUB_OFFLINE": "1"}


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _state(process: "subprocess.Popen[bytes]", log: Path) -> State:
    """Return how it is, and the last line of its log."""
    code, text = process.poll(), log.read_text(encoding="utf-8", errors="replace")
    return State(code, last_words.of_ours(text.strip().splitlines()))


def _stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
