"""Build an image in two parts, dependencies and code, and stack them into one OCI layout."""

import fcntl
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devcluster.images import base, layout, recipe
from devcluster.images.buildah import Build, Buildah
from devcluster.images.places import Places


@dataclass(frozen=True, slots=True)
class Built:
    """An image that is ready to be loaded."""

    reference: str
    layout: Path


def ensure(image: recipe.Image, root: Path, places: Places) -> Built:
    """Return the image of the sources below root; build only what is not there yet."""
    names = recipe.names(image, root)
    if layout.complete(places.layout(names.image)):
        # Not even a wait for others, whose builds may take many minutes.
        places.mark(places.layout(names.image))
        return Built(names.image, places.layout(names.image))
    with locked(places), tempfile.TemporaryDirectory(dir=places.root) as scratch:
        # A copy, so that a file saved during the build cannot get under the name of another.
        context = Path(scratch, "context")
        snapshot(image, root, context)
        names = recipe.names(image, context)
        target = places.layout(names.image)
        if not layout.complete(target):
            say(f"building {names.image}")
            lower = dependencies(image, names, context, places)
            plan = Build(
                names.image,
                context / image.dockerfile,
                context,
                arguments(image, names) | {"RUNTIME": "scratch", "REVISION": revision(root)},
            )
            upper = content(Buildah(places.storage), plan, Path(scratch, "upper"))
            layout.write(layout.stack(lower, upper), target, names.image)
        places.use(target)
    return Built(names.image, target)


@contextmanager
def locked(places: Places) -> Iterator[None]:
    """Let one build run at a time: a second of the same image finds the first one's result."""
    places.root.mkdir(parents=True, exist_ok=True)
    with (places.root / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build is at work; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def dependencies(
    image: recipe.Image, names: recipe.Names, context: Path, places: Places
) -> layout.Content:
    """Return the image of the dependencies; the first build takes minutes, and says so."""
    target = places.layout(names.dependencies)
    if not layout.complete(target):
        buildah = Buildah(places.storage)
        base.ensure(buildah, say, image.base)
        say(f"building {names.dependencies}: downloads and compiles, some minutes")
        plan = Build(
            names.dependencies,
            context / image.dockerfile,
            context,
            arguments(image, names),
            target="dependencies",
        )
        with tempfile.TemporaryDirectory(dir=places.root) as scratch:
            parts = content(buildah, plan, Path(scratch, "lower"))
            layout.write(parts, target, names.dependencies)
    places.use(target)
    return layout.read(target)


def arguments(image: recipe.Image, names: recipe.Names) -> dict[str, str]:
    """Return the build arguments that both parts share."""
    values = {"BASE": names.base}
    if image.accelerator:
        values["ACCELERATOR"] = image.accelerator
    return values


def content(buildah: Buildah, plan: Build, folder: Path) -> layout.Content:
    """Build, and write the parts into the folder."""
    buildah.build(plan)
    buildah.push(plan.reference, folder)
    return layout.read_folder(folder)


def snapshot(image: recipe.Image, root: Path, folder: Path) -> None:
    """Copy the inputs of an image, with their times, which buildah's layer cache looks at."""
    for path in recipe.files(root, image.inputs):
        copy = folder / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)


def revision(root: Path) -> str:
    """Return the commit that is checked out, for the image's label."""
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def say(line: str) -> None:
    """Tell a person what takes time; the results go to standard output."""
    print(f"images: {line}", file=sys.stderr, flush=True)
