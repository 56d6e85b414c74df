"""Runs a function in a process of its own and tells the most memory that the process held."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Measured[T]:
    """What a function returned."""

    value: T
    peak: float
    """MiB that were resident at most, PyTorch's own included."""


def run[T](threads: int, function: Callable[..., T], *arguments: Any) -> Measured[T]:
    """Call a function of a module, with arguments that can be pickled."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_inside, threads, function, arguments).result()


def _inside[T](threads: int, function: Callable[..., T], arguments: tuple[Any, ...]) -> Measured[T]:
    import torch

    torch.set_num_threads(threads)
    value = function(*arguments)
    return Measured(value, _peak())


def _peak() -> float:
    """Read the high-water mark of this process; getrusage would tell the parent's, if larger."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
