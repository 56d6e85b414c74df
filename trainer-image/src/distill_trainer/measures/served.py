"""How student and teacher bore a load behind their server, and whether that is enough."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from distill_api.outcome import Benchmark, Vllm
from distill_api.status import BenchmarkStatus, Percentiles, ServedLoad, ServedTokens

from distill_trainer.measures import telling

MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True)
class Tokens:
    """What was measured of a server that writes."""

    first: tuple[float, ...]
    """Seconds from each request's arrival to its first token; of a failed one at least the
    timeout."""
    each: tuple[float, ...]
    """Mean seconds between the tokens of each answer that has two; a failure as above."""
    count: int
    """Of all answers."""


@dataclass(frozen=True, slots=True)
class Load:
    """What was measured of one server."""

    seconds: tuple[float, ...]
    """Latency of each request, from its arrival; of a failed one at least the timeout."""
    failures: int
    span: float
    """Seconds from the first arrival to the last answer."""
    memory: int
    """Resident bytes at the peak."""
    late: float
    """Seconds that the load itself was late at the 99th percentile: they are in the latencies."""
    why: str = ""
    """What was wrong with the first request that failed."""
    tokens: Tokens | None = None
    """Of a server that writes."""

    def milliseconds(self, share: float) -> float:
        """Latency that this share (0 to 100) of all requests stay below."""
        return percentile(self.seconds, share)

    @property
    def failed(self) -> float:
        """Share of the requests that failed."""
        return self.failures / len(self.seconds)


@dataclass(frozen=True, slots=True)
class Served:
    """Both servers under the same load."""

    asked: Benchmark
    student: Load
    teacher: Load | None = None
    remark: str | None = None
    """Why there is no teacher."""
    cpu_seconds: float = 0.0
    """Processor time of servers in another container, which nobody else counts."""


def percentile(seconds: Sequence[float], share: float) -> float:
    """Return the milliseconds that this share (0 to 100) of all times stay below."""
    return 1000 * float(np.percentile(seconds, share))


def measured(found: Served) -> dict[str, Load]:
    """Return what was measured, by model."""
    both = {"student": found.student, "teacher": found.teacher}
    return {name: load for name, load in both.items() if load is not None}


def status(found: Served) -> BenchmarkStatus:
    """Tell it as the job's status does."""
    return BenchmarkStatus(
        requests_per_second=f"{found.asked.requests_per_second:.3f}",
        student=_load(found.student),
        teacher=_load(found.teacher) if found.teacher else None,
        remark=found.remark,
    )


def _load(load: Load) -> ServedLoad:
    answered = len(load.seconds) - load.failures
    return ServedLoad(
        requests=len(load.seconds),
        failures=load.failures,
        p50_milliseconds=f"{load.milliseconds(50):.3f}",
        p95_milliseconds=f"{load.milliseconds(95):.3f}",
        p99_milliseconds=f"{load.milliseconds(99):.3f}",
        requests_per_second=f"{answered / load.span:.2f}",
        peak_memory_bytes=load.memory,
        tokens=_tokens(load.tokens, load.span) if load.tokens else None,
    )


def _tokens(tokens: Tokens, span: float) -> ServedTokens:
    return ServedTokens(
        output_tokens=tokens.count,
        tokens_per_second=f"{tokens.count / span:.2f}",
        time_to_first_token=_percentiles(tokens.first),
        time_per_output_token=_percentiles(tokens.each) if tokens.each else None,
    )


def _percentiles(seconds: Sequence[float]) -> Percentiles:
    p50, p95, p99 = (f"{percentile(seconds, share):.3f}" for share in (50, 95, 99))
    return Percentiles(p50_milliseconds=p50, p95_milliseconds=p95, p99_milliseconds=p99)


def outcomes(found: Served) -> Sequence[tuple[bool, str]]:
    """Return of each gate whether it held, and its sentence with numbers."""
    asked, load = found.asked, found.student
    rate = f"at {asked.requests_per_second:g} requests a second"
    outcomes = [
        _at_most(load.milliseconds(share), most, f"served P{share} {rate}", "ms")
        for share, most in ((95, asked.max_p95_milliseconds), (99, asked.max_p99_milliseconds))
        if most is not None
    ]
    if asked.vllm is not None and load.tokens is not None:
        outcomes += _of_tokens(asked.vllm, load.tokens, rate)
    if (most := asked.max_memory_mebibytes) is not None:
        outcomes.append(_at_most(load.memory / MEBIBYTE, most, "the server's memory", "MiB"))
    failed = f"{load.failures:,} of {len(load.seconds):,} requests failed {rate}"
    first = f"; the first: {load.why}" if load.why else ""
    told = f"{failed} (at most {asked.max_failures:.2%} asked{first})"
    return [*outcomes, (load.failed <= asked.max_failures, told)]


def _of_tokens(asked: Vllm, found: Tokens, rate: str) -> list[tuple[bool, str]]:
    first, each = (
        asked.max_p95_time_to_first_token_milliseconds,
        asked.max_p95_time_per_output_token_milliseconds,
    )
    limits = (
        ("the time to the first token", found.first, first),
        ("the time per output token", found.each, each),
    )
    return [
        _at_most(percentile(seconds, 95), most, f"served P95 of {what} {rate}", "ms")
        if seconds
        else (False, f"{what} cannot be judged, as no answer has two tokens")
        for what, seconds, most in limits
        if most is not None
    ]


def _at_most(value: float, most: float, what: str, unit: str) -> tuple[bool, str]:
    told = telling.beside(value, most, kept=telling.MILLISECONDS_DECIMALS, decimals=1)
    return value <= most, f"{what} {told} {unit} (at most {most:g} {unit} asked)"
