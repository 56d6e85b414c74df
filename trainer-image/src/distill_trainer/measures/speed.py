"""Latency and throughput of student and teacher, measured in turns so that both share the noise."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Embed = Callable[[Sequence[Any]], object]
"""Embeds some texts, orders some lists or answers some questions, in one go."""

WARM_UP = 3
"""Calls of each model that are not counted."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is timed."""

    requests: Sequence[Any]
    """Texts or lists that are sent one by one."""
    batches: Sequence[Sequence[Any]]
    """Those that are sent together."""
    rounds: int
    """How often all batches are sent."""
    size: Callable[[Any], int] = lambda _: 1
    """Documents of one of them."""
    made: Callable[[Any], int] | None = None
    """Counts what a model returned for a batch, where that is not known before; size where None."""


@dataclass(frozen=True, slots=True)
class Timings:
    """What was measured of one model."""

    latencies: tuple[float, ...]
    """Seconds of each single request."""
    rounds: tuple[float, ...]
    """Texts per second of each round of batches."""

    def percentile(self, share: float) -> float:
        """Latency in seconds that this share (0 to 100) of the requests stay below."""
        return float(np.percentile(self.latencies, share))

    @property
    def texts_per_second(self) -> float:
        """Median over the rounds."""
        return float(np.median(self.rounds))


def batches(texts: Sequence[str], size: int) -> list[list[str]]:
    """Cut texts into batches of like length, as a server that batches well would."""
    by_length = sorted(texts, key=lambda text: (len(text), text))
    return [by_length[begin : begin + size] for begin in range(0, len(by_length), size)]


def measure(
    models: Mapping[str, Embed], work: Workload, tell: Callable[[int, int], None]
) -> dict[str, Timings]:
    """Time every model on the same work, in turns: each request, then each batch of each round.

    tell: told how many of all calls are done; may raise to stop.
    """
    total = len(work.requests) + work.rounds * len(work.batches)
    for embed in models.values():
        for _ in range(WARM_UP):
            embed(work.batches[-1])
            embed(work.requests[:1])
    latencies: dict[str, list[float]] = {name: [] for name in models}
    for done, text in enumerate(work.requests):
        for name, (seconds, _) in _in_turn(models, [text], done).items():
            latencies[name].append(seconds)
        tell(done + 1, total)
    paces = _rounds(models, work, lambda done: tell(len(work.requests) + done, total))
    return {name: Timings(tuple(latencies[name]), tuple(paces[name])) for name in models}


def _rounds(
    models: Mapping[str, Embed], work: Workload, tell: Callable[[int], None]
) -> dict[str, list[float]]:
    """Texts, or what was made of them, per second of each round, by model."""
    paces: dict[str, list[float]] = {name: [] for name in models}
    for number in range(work.rounds):
        seconds, done = dict.fromkeys(models, 0.0), dict.fromkeys(models, 0)
        for place, batch in enumerate(work.batches):
            size = sum(work.size(one) for one in batch)
            for name, (spent, made) in _in_turn(models, batch, number + place).items():
                seconds[name] += spent
                done[name] += size if work.made is None else work.made(made)
            tell(number * len(work.batches) + place + 1)
        for name, spent in seconds.items():
            paces[name].append(done[name] / spent)
    return paces


def _in_turn(
    models: Mapping[str, Embed], texts: Sequence[Any], turn: int
) -> dict[str, tuple[float, object]]:
    """Seconds of one call of each model, and what it returned.

    Who goes first changes with the turn.
    """
    names = list(models)
    shift = turn % len(names)
    found: dict[str, tuple[float, object]] = {}
    for name in names[shift:] + names[:shift]:
        began = time.perf_counter()
        made = models[name](texts)
        found[name] = time.perf_counter() - began, made
    return found
