"""Requests at a constant rate, whether or not answers come in time, and what came of each."""

import base64
import ipaddress
import json
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import httpx

from devcluster import addresses, paths, programs
from devcluster.errors import ClusterError


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the cycle."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one request."""

    began: float
    """Seconds since 1970."""
    seconds: float
    status: int
    """0 where no answer came."""
    error: str

    @property
    def ended(self) -> float:
        """Seconds since 1970."""
        return self.began + self.seconds

    @property
    def good(self) -> bool:
        """An answer that says success."""
        return 200 <= self.status < 300


class Traffic:
    """What came of the requests so far; more is added while it runs."""

    def __init__(self) -> None:
        self._outcomes: list[Outcome] = []

    @property
    def outcomes(self) -> list[Outcome]:
        """A copy, in the order in which answers came."""
        return list(self._outcomes)

    def since(self, moment: float) -> list[Outcome]:
        """Those that began at or after a moment, in seconds since 1970."""
        return [outcome for outcome in self.outcomes if outcome.began >= moment]

    def add(self, line: str) -> None:
        """Take in one line of Vegeta's results."""
        found = json.loads(line)
        self._outcomes.append(
            Outcome(
                began=datetime.fromisoformat(found["timestamp"]).timestamp(),
                seconds=found["latency"] / 1e9,
                status=found["code"],
                error=found["error"],
            )
        )


@contextmanager
def flowing(
    requests: Sequence[Request], *, per_second: float, timeout_seconds: float = 10.0
) -> Iterator[Traffic]:
    """Send the requests in turns until the block ends; answers under way are waited for.

    Open loop: the next request never waits for the last one's answer, so that a slow server is
    seen as slow. Only ever to this machine and the cluster's own network.
    """
    for request in requests:
        refuse_outside(request.url)
    vegeta = programs.build(paths.default().programs, say=lambda _: None).find("vegeta")
    with tempfile.TemporaryDirectory() as scratch:
        targets = Path(scratch, "targets")
        targets.write_text("".join(map(_target, requests)), encoding="utf-8")
        command = _command(vegeta, targets, per_second, timeout_seconds)
        with _piped(command, [vegeta, "encode", "--to", "json"]) as (attack, lines):
            traffic = Traffic()
            reader = threading.Thread(target=_read, args=(lines, traffic), name="traffic")
            reader.start()
            try:
                yield traffic
            finally:
                # The first interrupt ends the sending, and waits for what is under way.
                attack.send_signal(signal.SIGINT)
                reader.join(timeout_seconds + 10)
    if attack.returncode:
        raise ClusterError(f"Vegeta ended with exit status {attack.returncode}: see its message")


@contextmanager
def _piped(
    writer: Sequence[str], reader: Sequence[str]
) -> Iterator[tuple[subprocess.Popen[bytes], IO[str]]]:
    """Run two programs, the second reading the first; yields the first and the second's output."""
    with subprocess.Popen(writer, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        with subprocess.Popen(
            reader, stdin=first.stdout, stdout=subprocess.PIPE, text=True
        ) as second:
            first.stdout.close()  # or the first would never learn that the second has died
            assert second.stdout is not None
            yield first, second.stdout


def succeeds(request: Request) -> bool:
    """Send one request and tell whether its answer says success."""
    refuse_outside(request.url)
    return httpx.request(
        request.method,
        request.url,
        content=request.body,
        headers=dict(request.headers),
        timeout=10,
    ).is_success


def refuse_outside(url: str) -> None:
    """Raise for a URL of any place but this machine and the cluster's own network."""
    host = urlsplit(url).hostname or ""
    try:
        place = ipaddress.ip_address(host)
    except ValueError:
        raise ClusterError(f"{url}: requests go to an IP address, not to {host!r}") from None
    ours = (addresses.NODES, addresses.PODS, addresses.SERVICES)
    if not (place.is_loopback or any(place in network for network in ours)):
        raise ClusterError(f"{url} is outside of this machine and its cluster; load stays inside")


def _target(request: Request) -> str:
    target = {
        "method": request.method,
        "url": request.url,
        # In the usual letters, as Vegeta looks for `Host` and no other spelling.
        "header": {name.title(): [value] for name, value in request.headers.items()},
        "body": base64.b64encode(request.body).decode(),
    }
    # Vegeta does not see a last line without its end.
    return f"{json.dumps(target)}\n"


def _command(vegeta: str, targets: Path, per_second: float, timeout: float) -> list[str]:
    rate = f"{round(per_second * 60)}/1m"
    flags = ["-format=json", f"-targets={targets}", f"-rate={rate}", "-duration=0"]
    # An answer's body is read to its end, and not kept.
    return [vegeta, "attack", *flags, f"-timeout={timeout}s", "-max-body=0", "-redirects=-1"]


def _read(lines: Iterable[str], traffic: Traffic) -> None:
    for line in lines:
        traffic.add(line)
