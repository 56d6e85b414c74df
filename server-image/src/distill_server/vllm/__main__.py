"""Becomes `vllm serve` with the flags that were given and those that a container needs."""

import os
import sys

from distill_server.vllm import launch

if __name__ == "__main__":
    started = launch.of(sys.argv[1:], os.environ)
    for line in started.remarks:
        print(f"kubedistill: {line}", file=sys.stderr, flush=True)  # noqa: T201 - before any log
    os.execvpe("vllm", started.command, started.environment)  # noqa: S606 - it becomes process 1
