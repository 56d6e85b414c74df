"""What an image is made of, as data: its inputs, and the name that follows from them."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

type Accelerator = Literal["cuda", "cpu"]

REPOSITORY = "localhost/kubedistill"
BASE_SUITE = "trixie"
BASE_PACKAGES = ("ca-certificates", "python3", "python3-venv")
# What no program in the images reads; 110 of the base's 269 MB.
BASE_LEFT_OUT = ("usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache/apt")

# Beside its own program an image carries only the contract.
SHARED = ("scripts/image-install.sh", "pyproject.toml", "README.md", "crds/src")
IGNORED = frozenset({"__pycache__", ".mypy_cache", ".ruff_cache"})


@dataclass(frozen=True, slots=True)
class Image:
    """One image of the project."""

    name: str
    dockerfile: str
    inputs: tuple[str, ...]  # files and folders below the repository's root, the Dockerfile's COPY
    accelerator: Accelerator | None = None


def operator() -> Image:
    """Return the operator's image."""
    return Image(
        "operator", "operator/Dockerfile", ("operator/requirements.txt", "operator/src", *SHARED)
    )


def trainer(accelerator: Accelerator) -> Image:
    """Return the trainer's image, with the real CUDA libraries or without."""
    inputs = (
        f"trainer-image/requirements-{accelerator}.txt",
        "trainer-image/cpu/cuda_stubs.py",
        "trainer-image/src",
        *SHARED,
    )
    return Image("trainer", "trainer-image/Dockerfile", inputs, accelerator)


def named(name: str, accelerator: Accelerator) -> Image:
    """Return the image called so; ValueError with the names there are."""
    match name:
        case "operator":
            return operator()
        case "trainer":
            return trainer(accelerator)
    raise ValueError(f"there is no image {name!r}; the images are operator and trainer")


def files(root: Path, inputs: Iterable[str]) -> tuple[Path, ...]:
    """List every file of the inputs, sorted, without what tools leave behind."""
    found: set[Path] = set()
    for entry in inputs:
        path = root / entry
        if path.is_file():
            found.add(path)
        elif path.is_dir():
            found.update(p for p in path.rglob("*") if p.is_file() and not IGNORED & {*p.parts})
        else:
            raise FileNotFoundError(f"{path} is an input of an image but does not exist")
    return tuple(sorted(found))


def digest(root: Path, inputs: Iterable[str], *extra: str) -> str:
    """Hash names and contents of the inputs, and the extra words: 12 hex digits."""
    state = hashlib.sha256("\0".join(extra).encode())
    for path in files(root, inputs):
        state.update(f"\0{path.relative_to(root)}\0".encode())
        state.update(hashlib.sha256(path.read_bytes()).digest())
    return state.hexdigest()[:12]


def base_reference() -> str:
    """Return the name of the base image, from what goes into it."""
    words = "\0".join([BASE_SUITE, *BASE_PACKAGES, *BASE_LEFT_OUT])
    return f"{REPOSITORY}/base:{hashlib.sha256(words.encode()).hexdigest()[:12]}"


def reference(image: Image, root: Path) -> str:
    """Return the image's full name: the same inputs have the same name on every machine."""
    inputs = (image.dockerfile, *image.inputs)
    extra = (base_reference(), image.accelerator or "")
    return f"{REPOSITORY}/{image.name}:{digest(root, inputs, *extra)}"


def tag(reference: str) -> str:
    """Return the tag of a full name."""
    return reference.rpartition(":")[2]
