"""How student and teacher bore a load behind their server, and whether that is enough."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from distill_api.outcome import Benchmark
from distill_api.status import BenchmarkStatus, ServedLoad

MEBIBYTE = 2**20


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

    def milliseconds(self, share: float) -> float:
        """Latency that this share (0 to 100) of all requests stay below."""
        return 1000 * float(np.percentile(self.seconds, share))

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
    )


def outcomes(found: Served) -> Sequence[tuple[bool, str]]:
    """Return of each gate whether it held, and its sentence with numbers."""
    asked, load = found.asked, found.student
    rate = f"at {asked.requests_per_second:g} requests a second"
    outcomes = [
        _at_most(load.milliseconds(share), most, f"served P{share} {rate}", "ms")
        for share, most in ((95, asked.max_p95_milliseconds), (99, asked.max_p99_milliseconds))
        if most is not None
    ]
    if (most := asked.max_memory_mebibytes) is not None:
        outcomes.append(_at_most(load.memory / MEBIBYTE, most, "the server's memory", "MiB"))
    failed = f"{load.failures:,} of {len(load.seconds):,} requests failed {rate}"
    told = f"{failed} (at most {asked.max_failures:.2%} asked)"
    return [*outcomes, (load.failed <= asked.max_failures, told)]


def _at_most(value: float, most: float, what: str, unit: str) -> tuple[bool, str]:
    return value <= most, f"{what} {value:.1f} {unit} (at most {most:g} {unit} asked)"
