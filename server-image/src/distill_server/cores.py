"""How many threads pay off: the processors that this container may use."""

import math
import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable(quota: Path = QUOTA) -> int:
    """Return the processors of the process, lowered by the container's CPU limit.

    Libraries count the machine's processors, and with a limit below them their threads get
    throttled in the middle of every batch.
    """
    available = os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count()
    limit = _limit(quota)
    return max(1, min(available or 1, math.ceil(limit) if limit else available or 1))


def _limit(quota: Path) -> float | None:
    """Return processors from `quota period` of cgroup v2; None where there is no limit."""
    try:
        share, period = quota.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    return None if share == "max" else int(share) / int(period)
