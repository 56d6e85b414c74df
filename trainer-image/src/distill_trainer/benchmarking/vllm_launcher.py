"""Starts and ends vLLM as a benchmark asks, one model at a time, and tells how it is.

It runs in vLLM's own image, where none of our packages need be: no import of ours may be added.
`PUT /` starts, `GET /` tells, `DELETE /` ends, on the pod's loopback.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType

KEPT_LINES = 400
"""Of the log of a run: the reason of a failure stands above two tracebacks."""
STOP_SECONDS = 20.0
PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


def command(arguments: Sequence[str]) -> list[str]:
    """Return how vLLM is started: by kubedistill's program, where the image has it."""
    ours = importlib.util.find_spec("distill_server") is not None
    before = [sys.executable, "-m", "distill_server.vllm"] if ours else ["vllm", "serve"]
    return [*before, *arguments]


class Run:
    """One start of a server: its processes, which are a session of their own, and its log."""

    def __init__(self, words: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        self.log: deque[str] = deque(maxlen=KEPT_LINES)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            text = line.decode(errors="replace").rstrip()
            self.log.append(text)
            print(text, flush=True)  # noqa: T201 - the container's log

    def told(self) -> dict[str, object]:
        """Return how it is; sums over the processes that are there."""
        ended = self.process.poll()
        if ended is not None:
            self._reader.join(2)  # for its last words
        alive = list(processes(self.process.pid))
        return {
            "ended": ended,
            "memory": sum(map(peak_memory, alive)),
            "cpuSeconds": sum(map(cpu_seconds, alive)),
            "log": list(self.log),
        }

    def stop(self, patience: float = STOP_SECONDS) -> None:
        """End every process of the session; returns when their memory is free again."""
        if self.process.poll() is None and patience:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)
        ends = time.monotonic() + STOP_SECONDS
        while (left := list(processes(self.process.pid))) and time.monotonic() < ends:
            kill(left)
            self.process.poll()
            time.sleep(0.05)
        self.process.wait()
        reap(self.process.pid)
        self._reader.join(2)
        if self.process.stdout is not None:
            self.process.stdout.close()


def processes(session: int) -> Iterator[int]:
    """Yield the processes of a session; one that has ended and waits for its parent is none."""
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            found = fields(int(entry.name))
            if found and found[0] != "Z" and int(found[3]) == session:
                yield int(entry.name)


def fields(process: int) -> list[str]:
    """Return /proc/PID/stat from the state on; nothing of a process that is gone."""
    with contextlib.suppress(OSError):
        # The name before it stands in brackets and may have any character in it.
        return (PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
    return []


def peak_memory(process: int) -> int:
    """Return the largest resident memory so far, in bytes; 0 of a process that is gone."""
    with contextlib.suppress(OSError):
        for line in (PROC / str(process) / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return 0


def cpu_seconds(process: int) -> float:
    """Return the processor time of a process and of its children that have ended."""
    found = fields(process)
    return sum(map(int, found[11:15])) / TICKS if found else 0.0


def kill(every: Sequence[int]) -> None:
    """End processes at once."""
    for process in every:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def reap(group: int) -> None:
    """Let go of ended processes that have lost their parent: in a container they come to us."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass


class Launcher(ThreadingHTTPServer):
    """What runs, and who asks for it."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.run: Run | None = None
        self.lock = threading.Lock()

    def end(self, patience: float = STOP_SECONDS) -> None:
        """End what runs."""
        if self.run is not None:
            self.run.stop(patience)
            self.run = None


class Handler(BaseHTTPRequestHandler):
    """Three verbs on one thing."""

    server: Launcher

    def do_PUT(self) -> None:
        """Start with the arguments of the body; what ran is ended before."""
        arguments = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.end()
            try:
                self.server.run = Run(command(arguments))
            except OSError as error:
                self._answer(HTTPStatus.UNPROCESSABLE_ENTITY, {"why": str(error)})
                return
        self._answer(HTTPStatus.OK, {})

    def do_GET(self) -> None:
        """Tell how it is; 404 where nothing was started since this program was."""
        with self.server.lock:
            told = self.server.run.told() if self.server.run is not None else None
        self._answer(HTTPStatus.NOT_FOUND if told is None else HTTPStatus.OK, told or {})

    def do_DELETE(self) -> None:
        """End what runs."""
        with self.server.lock:
            self.server.end()
        self._answer(HTTPStatus.OK, {})

    def _answer(self, status: HTTPStatus, content: dict[str, object]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: the log is vLLM's."""


def main(port: int) -> None:
    """Serve until the pod has no more use for it, which a SIGTERM says."""
    launcher = Launcher(port)

    def end(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    try:
        launcher.serve_forever()
    finally:
        launcher.end(patience=0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    main(parser.parse_args().port)
