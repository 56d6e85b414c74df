"""The only door to buildah, with its own storage under the cache folder."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devcluster.errors import ClusterError

CERTIFICATES = Path("/etc/ssl/certs")


class BuildFailed(ClusterError):
    """A build command failed; its last lines are in the message."""


@dataclass(frozen=True, slots=True)
class Build:
    """One Dockerfile build."""

    reference: str
    dockerfile: Path
    context: Path
    arguments: Mapping[str, str]
    target: str | None = None  # the stage to stop at; None: the last


@dataclass(frozen=True, slots=True)
class Buildah:
    """Runs buildah against one storage folder."""

    storage: Path

    def run(self, *arguments: str) -> str:
        """Run one command and return what it printed; BuildFailed with the last lines."""
        self.storage.mkdir(parents=True, exist_ok=True)
        places = ["--root", str(self.storage / "root"), "--runroot", str(self.storage / "run")]
        # chroot needs neither an OCI runtime nor rights that a container lacks; overlay avoids
        # vfs's full copy of every layer.
        environment = os.environ | {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay"}
        done = subprocess.run(
            ["buildah", *places, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
            raise BuildFailed(f"buildah {arguments[0]} ended with {done.returncode}:\n{tail}")
        return done.stdout.strip()

    def has(self, reference: str) -> bool:
        """Say whether the storage holds the image."""
        return bool(self.run("images", "--quiet", "--filter", f"reference={reference}"))

    def import_folder(self, folder: Path, reference: str) -> None:
        """Make a one-layer image of a root file system."""
        container = self.run("from", "scratch")
        try:
            self.run("copy", "--quiet", container, str(folder), "/")
            self.run("commit", "--quiet", container, reference)
        finally:
            self.run("rm", container)

    def build(self, build: Build) -> None:
        """Build a Dockerfile, reusing the layers of earlier builds."""
        self.run("build", "--layers", *build_arguments(build))

    def push(self, reference: str, folder: Path) -> None:
        """Write the image's parts, uncompressed, into a new folder.

        Not `oci:`, which compresses whatever one asks, 2 GB anew for each push.
        """
        self.run("push", "--quiet", "--disable-compression", reference, f"dir:{folder}")


def build_arguments(build: Build) -> list[str]:
    """Return the arguments of `buildah build`."""
    values = [f"--build-arg={name}={value}" for name, value in sorted(build.arguments.items())]
    # A machine behind a network's own authority trusts it; so must pip and uv in the build.
    volumes = [f"--volume={CERTIFICATES}:{CERTIFICATES}:ro"] if CERTIFICATES.is_dir() else []
    target = [f"--target={build.target}"] if build.target else []
    place = [f"--file={build.dockerfile}", f"--tag={build.reference}", str(build.context)]
    return ["--quiet", *volumes, *values, *target, *place]
