"""Asks the student's pods what they read of a few texts, and compares it with their training.

Beside the passes, once for each process: what a model reads does not change while it runs. Only a
pod that did not answer is asked again.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import aiohttp
from distill_api.rollout_arms import Runtime
from distill_api.token_ids import (
    TOKEN_IDS_FILE,
    TOKEN_IDS_PATH,
    TOKENIZE_PATH,
    Sample,
    TextKind,
    TokenIds,
)
from pydantic import BaseModel

from distill_operator.effects.rollout import fetch, triton_tokens
from distill_operator.effects.rollout.scrape import Target
from distill_operator.errors import NotYet
from distill_operator.plan.rollout.model import Difference, ObservedTokens, PodTokens

PAUSE: Final = 5.0
"""Seconds after which a pod that did not answer is asked again."""
AT_ONCE: Final = 8
"""Pods that are asked at the same time."""
INPUT_TYPES: Final = {TextKind.QUERY: "query", TextKind.DOCUMENT: "document"}

type Process = tuple[str, datetime]
"""Uid of the pod and start of its container."""

log = logging.getLogger(__name__)


class Answer(BaseModel):
    """What a server says of a text; vLLM says more."""

    tokens: list[int]


@dataclass(slots=True)
class _Entry:
    began: float
    task: asyncio.Task[PodTokens]
    found: PodTokens | None = None

    def stands(self, now: float) -> bool:
        """Tell whether there is no reason to ask, or not yet."""
        answered = self.found is not None and self.found.problem is None
        return answered or not self.task.done() or now - self.began < PAUSE


@dataclass(slots=True)
class TokenChecks:
    """What is known of each process; `wake` is called with the rollout's uid when there is more."""

    wake: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _rollouts: dict[str, dict[Process, _Entry]] = field(default_factory=dict)
    _session: aiohttp.ClientSession | None = None
    _free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    def begin(self, uid: str, targets: Iterable[Target]) -> None:
        """Ask the processes that were not asked yet, and forget those that are gone."""
        known, now = self._rollouts.get(uid, {}), self.clock()
        kept: dict[Process, _Entry] = {}
        for target in targets:
            process = (target.uid, target.started)
            entry = known.pop(process, None)
            if entry is None or not entry.stands(now):
                entry = self._ask(uid, target, entry.found if entry else None)
            kept[process] = entry
        for gone in known.values():
            gone.task.cancel()
        self._rollouts[uid] = kept

    def _ask(self, uid: str, target: Target, before: PodTokens | None) -> _Entry:
        task = asyncio.create_task(self._compared(target), name=f"tokens {target.pod}")
        entry = _Entry(self.clock(), task, before)
        task.add_done_callback(lambda done: self._finished(uid, entry, done))
        return entry

    async def _compared(self, target: Target) -> PodTokens:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        async with self._free:
            return await compare(self._session, target)

    def _finished(self, uid: str, entry: _Entry, done: asyncio.Task[PodTokens]) -> None:
        if done.cancelled():
            return
        error, before = done.exception(), entry.found
        if error is not None:
            log.error("tokens cannot be compared", exc_info=error, extra={"about": {"uid": uid}})
        entry.found = done.result() if error is None else PodTokens(problem=f"{error!r}")
        if entry.found != before:
            self.wake(uid)

    def take(self, uid: str) -> ObservedTokens:
        """Return what is known of a rollout's student by now."""
        entries = self._rollouts.get(uid)
        if entries is None:
            return ObservedTokens(known=False)
        found = {pod: entry.found for (pod, _), entry in entries.items()}
        return ObservedTokens({pod: told for pod, told in found.items() if told is not None})

    def forget(self, uid: str) -> None:
        """Stop asking for a rollout."""
        for entry in self._rollouts.pop(uid, {}).values():
            entry.task.cancel()

    async def close(self) -> None:
        """Stop everything."""
        for uid in list(self._rollouts):
            self.forget(uid)
        if self._session is not None:
            await self._session.close()
            self._session = None


@dataclass(frozen=True, slots=True)
class Asked:
    """How the servers of a runtime are asked."""

    trained: Callable[[aiohttp.ClientSession, str], Awaitable[str]]
    """For the file of what was read in training."""
    read: Callable[[aiohttp.ClientSession, str, Sample], Awaitable[list[int]]]
    """For the tokens of a text."""
    absent: str
    """Why one may have nothing to compare with."""


async def compare(session: aiohttp.ClientSession, target: Target) -> PodTokens:
    """Compare what a process reads with what its model read in training; never raises NotYet."""
    asked = ASKED[target.runtime]
    place = target.requests or target.url.removesuffix("/metrics")
    try:
        raw = await asked.trained(session, place)
        trained = fetch.read(TokenIds, raw)
        difference = await _first_difference(session, asked, place, trained)
    except fetch.Nowhere:
        return PodTokens(absent=asked.absent)
    except NotYet as error:
        return PodTokens(problem=str(error))
    digest = f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}"
    return PodTokens(len(trained.samples), difference, digest)


async def _first_difference(
    session: aiohttp.ClientSession, asked: Asked, place: str, trained: TokenIds
) -> Difference | None:
    for sample in trained.samples:
        served = await asked.read(session, place, sample)
        if served != sample.tokens:
            return Difference(
                name=f"the {sample.kind.lower()} {sample.name!r}",
                text=sample.text,
                trained=tuple(sample.tokens),
                served=tuple(served),
            )
    return None


async def _trained(session: aiohttp.ClientSession, place: str) -> str:
    return await fetch.text(session, f"{place}{TOKEN_IDS_PATH}")


async def _tokens(session: aiohttp.ClientSession, place: str, sample: Sample) -> list[int]:
    text = await fetch.text(session, f"{place}{TOKENIZE_PATH}", content=_question(sample))
    return fetch.read(Answer, text).tokens


def _question(sample: Sample) -> Mapping[str, Any]:
    match sample.kind:
        case TextKind.PAIR:
            return {"prompt": sample.text, "query": sample.query}
        case TextKind.CHAT:
            return {"messages": [turn.model_dump() for turn in sample.messages or ()]}
        case TextKind.PROMPT:
            return {"prompt": sample.text}
    return {"prompt": sample.text, "input_type": INPUT_TYPES[sample.kind]}


_NO_FILE: Final = f"it has no {TOKEN_IDS_FILE}, as an older or foreign artifact"
_FOREIGN: Final = (
    f"{_NO_FILE}, or its image is not the one that server-image/vllm builds, which hands it over"
)
_OWN: Final = Asked(_trained, _tokens, _NO_FILE)
ASKED: Final[Mapping[Runtime, Asked]] = {
    Runtime.ONNX_RUNTIME: _OWN,
    Runtime.TORCH: _OWN,
    Runtime.VLLM: Asked(_trained, _tokens, _FOREIGN),
    Runtime.TRITON: Asked(triton_tokens.trained, triton_tokens.read, triton_tokens.ABSENT),
}

if ASKED.keys() != set(Runtime):
    raise AssertionError("every runtime must say how it is asked for tokens")
