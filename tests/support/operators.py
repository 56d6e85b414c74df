"""The operator as a process of this machine, which tests may kill as they like."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

START_SECONDS = 120.0


def eventually[T](
    look: Callable[[], T | None], what: str, *, within: float, every: float = 0.5
) -> T:
    """Return what `look` finds as soon as it finds something; fail with `what` after `within` s."""
    end = time.monotonic() + within
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {within:.0f} s: {what}")
        time.sleep(every)


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Operator:
    """One replica, serving one namespace."""

    kubeconfig: Path
    namespace: str
    log: Path
    image: str = "registry.invalid/trainer:none"
    identity: str = "operator-0"
    host: str = "127.0.0.1"
    """Address of this machine as pods see it."""
    more: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    progress_port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it; it is ready when it has listed everything."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "distill_operator"], env=self._environment(), stderr=log
            )
        try:
            eventually(self.ready, f"the operator is ready, see {self.log}", within=START_SECONDS)
        except BaseException:
            self.kill()
            raise
        return self

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "POD_NAME": self.identity,
            "POD_NAMESPACE": self.namespace,
            "KUBEDISTILL_WATCH_NAMESPACES": self.namespace,
            "KUBEDISTILL_TRAINER_IMAGE": self.image,
            "KUBEDISTILL_LISTEN_METRICS": str(self.port),
            "KUBEDISTILL_LISTEN_PROGRESS": str(self.progress_port),
            "KUBEDISTILL_PROGRESS_URL": f"https://{self.host}:{self.progress_port}/v1/progress",
            **self.more,
        }

    def kill(self) -> None:
        """End it at once, as a lost node would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=30)
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of a page; status 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def ready(self) -> bool:
        """Tell whether it could lead; a process that has ended is a failure of the test."""
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(f"the operator ended: {self.log.read_text()[-2000:]}")
        return self.get("/readyz")[0] == 200

    @property
    def leading(self) -> bool:
        """Whether this replica leads."""
        return self.metric("kubedistill_leading") == 1.0

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples with these labels."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = [line.rpartition(" ") for line in self.get("/metrics")[1].splitlines()]
        return sum(
            float(value)
            for head, _, value in lines
            if head.partition("{")[0] == name and all(pair in head for pair in wanted)
        )

    def writes(self) -> float:
        """Return how often it has changed anything in the cluster, its lease left out."""
        verbs = ("POST", "PUT", "PATCH", "DELETE")
        name = "kubedistill_api_call_seconds_count"
        leases = sum(self.metric(name, verb=verb, resource="leases") for verb in verbs)
        reviews = self.metric(name, verb="POST", resource="tokenreviews")
        return sum(self.metric(name, verb=verb) for verb in verbs) - leases - reviews
