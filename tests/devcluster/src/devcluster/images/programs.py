"""Images of programs that others wrote: a Dockerfile, the programs, nothing else."""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from devcluster.images import base, build, layout, recipe
from devcluster.images.build import Built
from devcluster.images.buildah import Build, Buildah
from devcluster.images.places import Places

RECIPES = Path(__file__).parents[3] / "images"


@dataclass(frozen=True, slots=True)
class Packed:
    """An image of programs; its Dockerfile lies in the folder of its name."""

    name: str
    programs: tuple[Path, ...]
    on_base: bool = True
    """Whether the programs need a Debian below them; one that is linked statically does not."""

    @property
    def dockerfile(self) -> Path:
        """Return where the recipe lies."""
        return RECIPES / self.name / "Dockerfile"


def reference(packed: Packed) -> str:
    """Name the image by its inputs: the same inputs have the same name on every machine."""
    state = hashlib.sha256(packed.dockerfile.read_bytes())
    if packed.on_base:
        state.update(recipe.base().encode())
    for program in packed.programs:
        with program.open("rb") as file:
            state.update(f"\0{program.name}\0".encode())
            state.update(hashlib.file_digest(file, "sha256").digest())
    return f"{recipe.REPOSITORY}/{packed.name}:{state.hexdigest()[:12]}"


def ensure(packed: Packed, places: Places) -> Built:
    """Return the image; build it only when it is not there yet."""
    name = reference(packed)
    target = places.layout(name)
    with build.locked(places):
        if not layout.complete(target):
            build.say(f"building {name}")
            _build(packed, name, places)
        places.use(target)
    return Built(name, target)


def _build(packed: Packed, name: str, places: Places) -> None:
    buildah = Buildah(places.storage)
    arguments = {"BASE": base.ensure(buildah, build.say)} if packed.on_base else {}
    with tempfile.TemporaryDirectory(dir=places.root) as scratch:
        context = Path(scratch, "context")
        context.mkdir()
        for program in packed.programs:
            _bring(program, context / program.name)
        plan = Build(name, packed.dockerfile, context, arguments)
        parts = build.content(buildah, plan, Path(scratch, "parts"))
        layout.write(parts, places.layout(name), name)


def _bring(program: Path, copy: Path) -> None:
    """Link a program, or copy it from another file system, into the build's context."""
    try:
        os.link(program, copy)
    except OSError:
        shutil.copy(program, copy)
