"""Build the images: `python -m devcluster.images build|reference|lock`."""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from devcluster.images import base, layout, lock, recipe
from devcluster.images.buildah import Build, Buildah, BuildFailed
from devcluster.images.places import Places

ROOT = Path(__file__).resolve().parents[5]


def arguments(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m devcluster.images", description=__doc__)
    parser.add_argument("verb", choices=["build", "reference", "lock"])
    parser.add_argument("images", nargs="*", help="operator, trainer; without one, both")
    parser.add_argument("--accelerator", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--check", action="store_true", help="lock: change nothing, fail if stale")
    return parser.parse_args(words)


def build(image: recipe.Image, places: Places) -> tuple[str, Path]:
    """Return an image's name and OCI layout; build it unless these inputs were built before."""
    places.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=places.root) as scratch:
        # A copy, so that a file saved during the build cannot get under the name of another.
        context = snapshot(image, Path(scratch))
        reference = recipe.reference(image, context)
        target = places.layout(reference)
        if not layout.complete(target):
            buildah = Buildah(places.storage)
            tag = f"{image.name}-{recipe.tag(reference)}"
            buildah.build(plan(image, reference, base.ensure(buildah), context))
            buildah.push(reference, places.store, tag)
            layout.extract(places.store, tag, reference, target)
    return reference, target


def snapshot(image: recipe.Image, folder: Path) -> Path:
    """Copy the inputs of an image, with their times, which buildah's layer cache looks at."""
    for path in recipe.files(ROOT, (image.dockerfile, *image.inputs)):
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    return folder


def plan(image: recipe.Image, reference: str, base_image: str, context: Path) -> Build:
    """Say how an image is built."""
    values = {"BASE": base_image, "REVISION": revision()}
    if image.accelerator:
        values["ACCELERATOR"] = image.accelerator
    return Build(reference, context / image.dockerfile, context, values)


def revision() -> str:
    """Return the commit that is checked out, for the image's label."""
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def refresh(*, check: bool) -> int:
    """Write the requirement files anew, or only say which are stale."""
    stale = lock.stale(ROOT)
    for name, text in stale.items():
        if check:
            print(f"{name} is older than uv.lock: run `make generate`")
        else:
            (ROOT / name).write_text(text)
            print(f"wrote {name}")
    return 1 if check and stale else 0


def main(words: list[str]) -> int:
    """Do what the command line asks."""
    options = arguments(words)
    if options.verb == "lock":
        return refresh(check=options.check)
    places = Places.of_user()
    for name in options.images or ["operator", "trainer"]:
        image = recipe.named(name, options.accelerator)
        if options.verb == "reference":
            print(recipe.reference(image, ROOT))
            continue
        started = time.monotonic()
        print(*build(image, places), flush=True)
        print(f"{name}: {time.monotonic() - started:.1f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (BuildFailed, ValueError) as problem:
        sys.exit(f"images: {problem}")
