"""How vLLM is started in a container: flags and environment, from what the container is given."""

import importlib.metadata
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from distill_common import cores

from distill_server.vllm.tokens import FOLDER_VARIABLE

MIDDLEWARE: Final = "distill_server.vllm.tokens.HandsTokens"
EAGER: Final = "--enforce-eager"
SHUTDOWN: Final = "--shutdown-timeout"
SHUTDOWN_VARIABLE: Final = "DISTILL_SHUTDOWN_SECONDS"
"""Seconds that requests under way get after SIGTERM; vLLM's own default is to cut them off."""
MODEL: Final = "--model"


@dataclass(frozen=True, slots=True)
class Launch:
    """What is executed."""

    command: list[str]
    environment: dict[str, str]
    remarks: tuple[str, ...] = ()
    """What was added and why, for the log."""


def version() -> str:
    """Return vLLM's version; the CPU build's has `cpu` in it."""
    return importlib.metadata.version("vllm")


def of(
    flags: Sequence[str],
    given: Mapping[str, str],
    *,
    version: Callable[[], str] = version,
    compiler: Callable[[str], str | None] = shutil.which,
) -> Launch:
    """Return how vLLM is started with these flags; what is given is never changed."""
    environment = dict(given)
    command = ["vllm", "serve", *flags, "--middleware", MIDDLEWARE]
    if (folder := value(flags, MODEL)) is not None:
        environment.setdefault(FOLDER_VARIABLE, folder)
    if (seconds := given.get(SHUTDOWN_VARIABLE)) and value(flags, SHUTDOWN) is None:
        command += [SHUTDOWN, seconds]
    if "cpu" not in version():
        return Launch(command, environment)
    return _on_cpu(command, environment, compiler)


def value(flags: Sequence[str], name: str) -> str | None:
    """Return the last value of a flag, written `--flag value` or `--flag=value`."""
    found = None
    for place, word in enumerate(flags):
        if word == name and place + 1 < len(flags):
            found = flags[place + 1]
        elif word.startswith(f"{name}="):
            found = word.partition("=")[2]
    return found


def _on_cpu(
    command: list[str], environment: dict[str, str], compiler: Callable[[str], str | None]
) -> Launch:
    """Add what the CPU build needs: threads for the container's limit, no compiler.

    vLLM binds its threads to processors that it chooses for itself: two pods of a node would
    choose the same.
    """
    environment.setdefault("VLLM_TARGET_DEVICE", "cpu")
    environment.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    environment.setdefault("OMP_NUM_THREADS", str(cores.usable()))
    remarks = [f"{environment['OMP_NUM_THREADS']} threads"]
    if compiler("g++") is None and EAGER not in command:
        command = [*command, EAGER]
        remarks.append(f"{EAGER}, as this image has no compiler for torch.compile")
    return Launch(command, environment, tuple(remarks))
