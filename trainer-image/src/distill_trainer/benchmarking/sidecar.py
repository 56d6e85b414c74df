"""vLLM in the container beside this one, started and ended by its launcher on the loopback."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from distill_api import wire
from distill_api.names import Reason
from distill_api.outcome import Vllm

from distill_trainer.benchmarking import last_words
from distill_trainer.benchmarking.serving import (
    LOOK_SECONDS,
    NAME,
    NotServed,
    State,
    until_ready,
)
from distill_trainer.errors import TryAgain

LAUNCHER: Final = f"http://127.0.0.1:{wire.VLLM_LAUNCHER_PORT}"
URL: Final = f"http://127.0.0.1:{wire.VLLM_PORT}"
LAUNCHER_SECONDS: Final = 120.0
"""Until the other container has its launcher running, after a restart too."""
ASK_SECONDS: Final = 60.0
"""Of one request to the launcher, which waits until what ran has ended."""
RESTARTED: Final = (
    "its container was ended and started anew, as happens to one that needs more memory than"
    " evaluation.benchmark.vllm.resources.limits.memory: raise that"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is served, and how."""

    model: Path
    asked: Vllm
    more: Sequence[str] = ()
    """Arguments that this model needs."""

    def arguments(self, url: str) -> list[str]:
        """Return vLLM's arguments; the spec's come last, as the last one of a name counts."""
        place = urlsplit(url)
        flags = {
            "--model": str(self.model),
            "--served-model-name": NAME,
            "--host": str(place.hostname),
            "--port": str(place.port),
        }
        return [word for pair in flags.items() for word in pair] + [*self.more, *self.asked.args]


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A vLLM that takes requests."""

    url: str
    launcher: str

    def peak_memory(self) -> int:
        """Return the largest resident memory of its processes, added up, in bytes.

        Raises NotServed where it has ended: what the load killed has not borne it.
        """
        return int(self._told()["memory"])

    def cpu_seconds(self) -> float:
        """Return its processor time, which the meter of this container does not see."""
        return float(self._told()["cpuSeconds"])

    def _told(self) -> Mapping[str, Any]:
        told = _told(self.launcher)
        _state(told).refuse_the_end("it ended under the load")
        return told


@contextmanager
def running(plan: Plan, check: Callable[[], None], *, launcher: str, url: str) -> Iterator[Sidecar]:
    """Run vLLM on a model until the block ends. check: may raise to stop waiting for it.

    Raises NotServed where it ends before it is ready, TryAgain where the other container is not
    there at all.
    """
    _call(launcher, "PUT", plan.arguments(url), check=check)
    try:
        seconds = plan.asked.start_seconds
        until_ready("vLLM", f"{url}/health", seconds, lambda: _state(_told(launcher)), check)
        yield Sidecar(url, launcher)
    finally:
        with suppress(httpx.HTTPError):
            httpx.delete(launcher, timeout=ASK_SECONDS, trust_env=False)


def _told(launcher: str) -> Mapping[str, Any]:
    """Return what the launcher tells of the server; raises NotServed where it knows of none."""
    answer = _call(launcher, "GET")
    if answer.status_code == HTTPStatus.NOT_FOUND:
        raise NotServed(RESTARTED)
    found: dict[str, Any] = answer.json()
    return found


def _state(told: Mapping[str, Any]) -> State:
    return State(told["ended"], last_words.of_vllm(told["log"]))


def _call(
    launcher: str, verb: str, content: Any = None, *, check: Callable[[], None] = lambda: None
) -> httpx.Response:
    """Ask the launcher, and again while its container is being started."""
    ends = time.monotonic() + LAUNCHER_SECONDS
    while True:
        try:
            answer = httpx.request(
                verb, launcher, json=content, timeout=ASK_SECONDS, trust_env=False
            )
        except httpx.HTTPError as error:
            check()
            if time.monotonic() > ends:
                raise _absent(error) from error
            time.sleep(LOOK_SECONDS)
            continue
        if answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
            raise NotServed(f"the image has no vLLM: {answer.json()['why']}")
        return answer


def _absent(error: Exception) -> TryAgain:
    return TryAgain(
        Reason.CRASHED,
        f"The container `vllm` of this pod does not answer ({error}): see its log (kubectl logs POD"
        " -c vllm), and whether evaluation.benchmark.vllm.image has python3 and vLLM",
    )
