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
# Of NVIDIA's inference server, which is called like the compiler.
OTHERS = frozenset({"tritonclient"})
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==", re.MULTILINE)

TRAINER = "trainer-image/requirements-cuda.txt"
SERVER = "server-image/requirements.txt"
VLLM = "server-image/vllm/cpu/requirements-cpu.txt"
VLLM_HEADER = "# Resolved from requirements.in by `python -m devcluster.images pin`; do not edit.\n"
IMAGES_PYTHON = "3.13"
TRITON = "server-image/triton"
"""A project of its own, with a lock of its own: see its pyproject.toml."""


def left_out(lock: str) -> tuple[str, ...]:
    """Name the packages of a lock file that are of no use without a GPU."""
    names = {package["name"] for package in tomllib.loads(lock)["package"]}
    return tuple(sorted(n for n in names - KEPT - OTHERS if n.startswith(CUDA_PREFIXES)))


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


def beside_triton() -> Mapping[str, tuple[str, ...]]:
    """Return the same for Triton: what its official image lacks, and a whole server."""
    return {
        f"{TRITON}/requirements.txt": (),
        f"{TRITON}/requirements-server.txt": ("--group=server",),
    }


def export(project: Path, arguments: tuple[str, ...]) -> str:
    """Run `uv export` and return the requirement file's text."""
    fixed = ["--frozen", "--quiet", "--no-dev", "--no-emit-project", "--no-annotate", "--no-header"]
    done = subprocess.run(
        ["uv", "export", *fixed, *arguments],
        cwd=project,
        check=True,
        capture_output=True,
        text=True,
    )
    return HEADER + done.stdout


def stale(root: Path) -> dict[str, str]:
    """Return the requirement files that differ from the lock, with the text they should have."""
    lock = (root / "uv.lock").read_text()
    wanted = {name: export(root, arguments) for name, arguments in exports(lock).items()}
    wanted[SERVER] = export(root, beside(wanted[TRAINER]))
    own = beside_triton()
    wanted |= {name: export(root / TRITON, arguments) for name, arguments in own.items()}
    return {
        name: text
        for name, text in wanted.items()
        if not (root / name).exists() or (root / name).read_text() != text
    }


def pin(root: Path) -> str:
    """Resolve the requirements of vLLM's CPU image anew: they have another torch than our lock.

    Asks the package index, so it is no part of `stale`.
    """
    folder = (root / VLLM).parent
    flags = ["--generate-hashes", "--no-annotate", "--no-header", "--quiet"]
    platform = ["--python-platform", "linux", "--python-version", IMAGES_PYTHON]
    given = [*platform, "--override", "overrides.txt", "requirements.in"]
    command = ["uv", "pip", "compile", "--no-config", *flags, *given]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return VLLM_HEADER + without_cuda(done.stdout)


def without_cuda(requirements: str) -> str:
    """Leave the CUDA libraries out of a requirement file with hashes."""
    blocks = re.split(r"(?m)^(?=[a-z0-9])", requirements)
    return "".join(block for block in blocks if not _of_cuda(block))


def _of_cuda(block: str) -> bool:
    name = re.split(r"[=\[; ]", block, maxsplit=1)[0]
    return name.startswith(CUDA_PREFIXES) and name not in KEPT
