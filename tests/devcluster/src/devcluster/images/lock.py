"""The images' requirement files, exported from uv.lock so that one lock feeds everything."""

import re
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

HEADER = "# Exported from uv.lock by `python -m devcluster.images lock`; do not edit.\n"

# Of the CUDA libraries the CPU image keeps the runtime, which looks for a GPU and finds none, and
# the profiler's, which torch.profiler calls for CPU work too.
KEPT = frozenset({"nvidia-cuda-runtime", "nvidia-cuda-cupti"})
CUDA_PREFIXES = ("nvidia-", "cuda-", "triton")
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==", re.MULTILINE)

TRAINER = "trainer-image/requirements-cuda.txt"
SERVER = "server-image/requirements.txt"


def left_out(lock: str) -> tuple[str, ...]:
    """Name the packages of a lock file that are of no use without a GPU."""
    names = {package["name"] for package in tomllib.loads(lock)["package"]}
    return tuple(sorted(n for n in names - KEPT if n.startswith(CUDA_PREFIXES)))


def exports(lock: str) -> Mapping[str, tuple[str, ...]]:
    """Return, for each requirement file, the arguments of `uv export` that make it."""
    without_cuda = tuple(f"--no-emit-package={name}" for name in left_out(lock))
    return {
        "operator/requirements.txt": ("--extra=operator",),
        TRAINER: ("--extra=trainer",),
        "trainer-image/requirements-cpu.txt": ("--extra=trainer", *without_cuda),
    }


def beside(trainer: str) -> tuple[str, ...]:
    """Return the arguments for what the server needs beside the trainer's requirements."""
    return ("--extra=server", *(f"--no-emit-package={name}" for name in PIN.findall(trainer)))


def export(root: Path, arguments: tuple[str, ...]) -> str:
    """Run `uv export` and return the requirement file's text."""
    fixed = ["--frozen", "--quiet", "--no-dev", "--no-emit-project", "--no-annotate", "--no-header"]
    done = subprocess.run(
        ["uv", "export", *fixed, *arguments], cwd=root, check=True, capture_output=True, text=True
    )
    return HEADER + done.stdout


def stale(root: Path) -> dict[str, str]:
    """Return the requirement files that differ from the lock, with the text they should have."""
    lock = (root / "uv.lock").read_text()
    wanted = {name: export(root, arguments) for name, arguments in exports(lock).items()}
    wanted[SERVER] = export(root, beside(wanted[TRAINER]))
    return {
        name: text
        for name, text in wanted.items()
        if not (root / name).exists() or (root / name).read_text() != text
    }
