"""What a stage uses up: wall time, processor time, accelerators, tokens."""

import resource
import time
from dataclasses import dataclass, field

from distill_api.status import Usage


def _cpu_seconds() -> float:
    """Return the processor time of this process and of its finished children."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


@dataclass(frozen=True, slots=True)
class Meter:
    """Counts from its creation; processor time from the start of the process."""

    gpus: int = 0
    started: float = field(default_factory=time.monotonic)

    def read(self, before: Usage) -> Usage:
        """Add what was used so far to what is known already.

        before: teacher tokens of this stage, or the stored usage of a result that is used again.
        """
        seconds = time.monotonic() - self.started
        gpu = self.gpus * seconds
        return Usage(
            seconds=_sum(before.seconds, seconds),
            cpu_seconds=_sum(before.cpu_seconds, _cpu_seconds()),
            gpu_seconds=_sum(before.gpu_seconds, gpu) if gpu or before.gpu_seconds else None,
            teacher_tokens=before.teacher_tokens,
        )


def _sum(before: str | None, more: float) -> str:
    return f"{float(before or 0) + more:.3f}"
