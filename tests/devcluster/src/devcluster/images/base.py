"""The base image: a minimal Debian with Python, made by debootstrap for want of a registry."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from devcluster.images import recipe
from devcluster.images.buildah import Buildah, BuildFailed


def ensure(buildah: Buildah, say: Callable[[str], None], below: recipe.Base = recipe.BASE) -> str:
    """Return the base image's name; make the image when it is not there yet."""
    reference = recipe.base(below)
    if not buildah.has(reference):
        say(f"building {reference}: a minimal Debian, a minute or two")
        build(buildah, reference, below)
    return reference


def build(buildah: Buildah, reference: str, below: recipe.Base) -> None:
    """Make the base image."""
    with tempfile.TemporaryDirectory(dir=buildah.storage.parent) as scratch:
        root = Path(scratch, "root")
        bootstrap(root, below)
        slim(root)
        buildah.import_folder(root, reference)


def bootstrap(root: Path, below: recipe.Base) -> None:
    """Unpack Debian into the folder; needs root rights, some 70 s."""
    include = ",".join(below.packages)
    command = ["debootstrap", "--variant=minbase", f"--include={include}", below.suite]
    done = subprocess.run([*command, str(root)], capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise BuildFailed(f"debootstrap ended with {done.returncode}:\n{tail}\n{done.stderr}")


def slim(root: Path) -> None:
    """Empty the folders that no program in an image reads."""
    for folder in recipe.BASE_LEFT_OUT:
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir(parents=True)
