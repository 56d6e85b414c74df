"""How many threads pay off: the processors that this container may use.

Copied into Triton repositories, where nothing but the standard library is there.
"""

import math
import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable(quota: Path = QUOTA) -> int:
    """Return the processors of the process, lowered by the container's CPU limit.

    Libraries count the machine's processors, and with a limit below them their threads get
    throttled in the middle of every batch.
    """
    available = _available()
    limit = _limit(quota)
    return max(1, min(available, math.ceil(limit) if limit else available))


def _available() -> int:
    """Return how many of the machine's processors the process may run on."""
    if hasattr(os, "process_cpu_count"):  # since Python 3.13
        return os.process_cpu_count() or 1
    return len(os.sched_getaffinity(0))


def _limit(quota: Path) -> float | None:
    """Return processors from `quota period` of cgroup v2; None where there is no limit."""
    try:
        share, period = quota.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    return None if share == "max" else int(share) / int(period)
