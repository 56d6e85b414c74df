"""What an image is made of, as data: its inputs, and the name that follows from them."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

type Accelerator = Literal["cuda", "cpu"]

NAMES = ("operator", "trainer", "server")
ON_DEMAND = ("vllm", "triton")
"""Images that are built only where they are named: they take minutes more."""
REPOSITORY = "localhost/kubedistill"
# What no program in the images reads; 90 of the base's 269 MB.
BASE_LEFT_OUT = ("usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache/apt")

# Beside its own program an image carries only the contract, and the trainer's the server.
SHARED_CODE = ("pyproject.toml", "README.md", "crds/src")
SERVER_CODE = ("server-image/requirements.txt", "server-image/src")
INSTALL = "scripts/image-install.sh"
IGNORED = frozenset({"__pycache__", ".mypy_cache", ".ruff_cache"})


@dataclass(frozen=True, slots=True)
class Base:
    """A minimal Debian below images."""

    suite: str
    packages: tuple[str, ...]


BASE = Base("trixie", ("ca-certificates", "python3", "python3-venv"))
# With the Python before 3.13 that Triton's bridge needs, and the library that it is linked with.
OLDER_BASE = Base("bookworm", ("ca-certificates", "libpython3.11", "python3", "python3-venv"))


@dataclass(frozen=True, slots=True)
class Image:
    """One image of the project; inputs are files and folders below the repository's root."""

    name: str
    dockerfile: str
    dependencies: tuple[str, ...]  # inputs of the large layer that rarely changes
    code: tuple[str, ...]  # inputs of the small one that often does
    accelerator: Accelerator | None = None
    shares: str | None = None  # the image whose dependencies these are, word for word
    base: Base = BASE

    @property
    def inputs(self) -> tuple[str, ...]:
        """Everything a build reads."""
        return (self.dockerfile, *self.dependencies, *self.code)


@dataclass(frozen=True, slots=True)
class Names:
    """The references of an image and of the dependencies below it."""

    base: str
    dependencies: str
    image: str


def operator() -> Image:
    """Return the operator's image."""
    dependencies = ("operator/requirements.txt", INSTALL)
    return Image("operator", "operator/Dockerfile", dependencies, ("operator/src", *SHARED_CODE))


def trainer(accelerator: Accelerator) -> Image:
    """Return the trainer's image, with the real CUDA libraries or without."""
    dependencies = (
        f"trainer-image/requirements-{accelerator}.txt",
        "trainer-image/cpu/cuda_stubs.py",
        INSTALL,
    )
    # The server's program with what it needs: the evaluate stage measures it under load.
    code = ("trainer-image/src", *SERVER_CODE, *SHARED_CODE)
    return Image("trainer", "trainer-image/Dockerfile", dependencies, code, accelerator)


def server(accelerator: Accelerator) -> Image:
    """Return the server's image, upon the trainer's dependencies: a layer of 2 GB built once."""
    code = (*SERVER_CODE, *SHARED_CODE)
    below = trainer(accelerator).dependencies
    return Image("server", "server-image/Dockerfile", below, code, accelerator, shares="trainer")


def vllm(accelerator: Accelerator) -> Image:
    """Return vLLM's image; the one for GPUs is made upon vLLM's own, which only a registry has."""
    if accelerator == "cuda":
        raise ValueError(
            "the vllm image for GPUs is made upon vLLM's own by any builder that reaches a"
            " registry: docker build -f server-image/vllm/Dockerfile ."
        )
    dependencies = (
        "server-image/vllm/cpu/requirements-cpu.txt",
        "server-image/vllm/cpu/distribution.py",
        "trainer-image/cpu/cuda_stubs.py",
        INSTALL,
    )
    code = ("server-image/src", *SHARED_CODE)
    return Image("vllm", "server-image/vllm/Dockerfile", dependencies, code)


def triton(accelerator: Accelerator) -> Image:
    """Return Triton's image; the one for GPUs is made upon NVIDIA's, which only a registry has."""
    if accelerator == "cuda":
        raise ValueError(
            "the triton image for GPUs is made upon NVIDIA's own by any builder that reaches its"
            " registry: docker build -f server-image/triton/Dockerfile ."
        )
    folder = "server-image/triton"
    dependencies = (f"{folder}/requirements-server.txt", f"{folder}/cpu/arrange.py")
    code = (f"{folder}/cpu/tritonserver",)
    return Image("triton", f"{folder}/cpu/Dockerfile", dependencies, code, base=OLDER_BASE)


def named(name: str, accelerator: Accelerator) -> Image:
    """Return the image called so; ValueError with the names there are."""
    match name:
        case "operator":
            return operator()
        case "trainer":
            return trainer(accelerator)
        case "server":
            return server(accelerator)
        case "vllm":
            return vllm(accelerator)
        case "triton":
            return triton(accelerator)
    known = ", ".join((*NAMES, *ON_DEMAND))
    raise ValueError(f"there is no image {name!r}; the images are {known}")


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


def digest(root: Path, inputs: Iterable[str], *words: str) -> str:
    """Hash names and contents of the inputs, and the words: 12 hex digits."""
    state = hashlib.sha256("\0".join(words).encode())
    for path in files(root, inputs):
        state.update(f"\0{path.relative_to(root)}\0".encode())
        state.update(hashlib.sha256(path.read_bytes()).digest())
    return state.hexdigest()[:12]


def dependencies_part(dockerfile: str) -> str:
    """Return the stage of a Dockerfile that installs the dependencies."""
    _, found, rest = dockerfile.partition(" AS dependencies\n")
    if not found:
        raise ValueError("the Dockerfile has no stage `AS dependencies`")
    return rest.partition("\nFROM ")[0]


def base(below: Base = BASE) -> str:
    """Name the base below an image by what it is made of."""
    words = (below.suite, *below.packages, *BASE_LEFT_OUT)
    return f"{REPOSITORY}/base:{digest(Path(), (), *words)}"


def names(image: Image, root: Path) -> Names:
    """Name the image by its inputs: the same inputs have the same name on every machine."""
    lowest = base(image.base)
    stage = dependencies_part((root / image.dockerfile).read_text())
    below = digest(root, image.dependencies, lowest.rpartition(":")[2], stage)
    top = digest(root, (image.dockerfile, *image.code), below)
    return Names(
        base=lowest,
        dependencies=f"{REPOSITORY}/{image.shares or image.name}-dependencies:{below}",
        image=f"{REPOSITORY}/{image.name}:{top}",
    )
