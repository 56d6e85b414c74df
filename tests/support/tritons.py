"""Real Triton servers on loopback: the binary of a package, with a Python of its own for models."""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

import httpx
from distill_api.generate import files

IMAGE: Final = files.ROOT / "server-image" / "triton"
REQUIREMENTS: Final = IMAGE / "requirements-server.txt"
ARRANGE: Final = IMAGE / "cpu" / "arrange.py"
_SPEC: Final = importlib.util.spec_from_file_location("arrange", ARRANGE)
assert _SPEC is not None
arrange: Final = importlib.util.module_from_spec(_SPEC)
assert _SPEC.loader is not None
_SPEC.loader.exec_module(arrange)
"""As the image is made."""
PYTHONS: Final = ("3.12", "3.11")


def run(*command: str) -> str:
    """Run a program and return what it says."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout.strip()


def python() -> str:
    """Return a Python of a version that Triton's bridge knows, with a shared library of itself."""
    for version in PYTHONS:
        found = subprocess.run(
            ["uv", "python", "find", "--no-project", version],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        if found and arrange.library(found)[0].is_file():
            return found
    run("uv", "python", "install", PYTHONS[0])
    return run("uv", "python", "find", "--no-project", "--managed-python", PYTHONS[0])


def home() -> Path:
    """Return a folder with the server and its Python; the first call installs them."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    made_of = REQUIREMENTS.read_bytes() + ARRANGE.read_bytes()
    digest = hashlib.sha256(made_of).hexdigest()[:12]
    place = Path(cache, "kubedistill", "triton", digest)
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "done").exists():
            shutil.rmtree(place, ignore_errors=True)
            _install(place)
            (place / "done").touch()
    return place


def _install(place: Path) -> None:
    found = python()
    run("uv", "venv", "--quiet", "--python", found, str(place))
    run(
        "uv", "pip", "sync", "--quiet", "--require-hashes", "--python", str(place / "bin/python"),
        str(REQUIREMENTS),
    )  # fmt: skip
    arrange.arrange(place)


class Triton:
    """A server of a model repository; a context manager."""

    def __init__(self, *repositories: Path, log: Path, arguments: tuple[str, ...] = ()) -> None:
        self._log = log
        self.http, self.grpc, self.metrics = _ports(3)
        self.url = f"http://127.0.0.1:{self.http}"
        place = home()
        self._environment = {
            "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": str(place / "libraries"),
            "TMPDIR": os.environ.get("TMPDIR", "/tmp"),  # noqa: S108 - the system's own default
        }
        self._command = [
            str(place / "bin" / "tritonserver.real"),
            f"--backend-directory={place / 'backends'}",
            *(f"--model-repository={one}" for one in repositories),
            *(f"--{name}-address=127.0.0.1" for name in ("http", "grpc", "metrics")),
            f"--http-port={self.http}",
            f"--grpc-port={self.grpc}",
            f"--metrics-port={self.metrics}",
            "--allow-gpu-metrics=false",
            *arguments,
        ]

    def __enter__(self) -> Self:
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log
            )
        with ExitStack() as stack:
            stack.callback(self.stop)
            self._wait()
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server and its models' processes."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _wait(self) -> None:
        ends = time.monotonic() + 120
        while time.monotonic() < ends:
            assert self.process.poll() is None, self.said()
            try:
                if httpx.get(f"{self.url}/v2/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"Triton is not ready after 120 s: {self.said()}")

    def said(self) -> str:
        """Return the log's end."""
        return self._log.read_text(errors="replace")[-6000:]

    def page(self) -> str:
        """Return the counters."""
        return httpx.get(f"http://127.0.0.1:{self.metrics}/metrics").text

    def ask(self, model: str, **body: Any) -> httpx.Response:
        """Send an inference."""
        return httpx.post(f"{self.url}/v2/models/{model}/infer", json=body)


def _ports(count: int) -> list[int]:
    with ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]


if __name__ == "__main__":
    sys.stdout.write(f"{home()}\n")
