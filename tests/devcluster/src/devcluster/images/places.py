"""Where built images lie: below the user's cache folder, safe to delete at any time."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

KEPT: Final = 4
"""Builds of an image that are kept: a checkout and what it is compared with, twice."""
TAG: Final = re.compile(r"-[0-9a-f]{12}$")


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one user."""

    root: Path

    @classmethod
    def of_user(cls) -> "Places":
        """Return the folders below the user's cache folder."""
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return cls(Path(cache, "kubedistill", "images"))

    @property
    def storage(self) -> Path:
        """Where buildah keeps its images and layers."""
        return self.root / "storage"

    def layout(self, reference: str) -> Path:
        """Return the OCI layout of one image."""
        name, _, tag = reference.rpartition("/")[2].partition(":")
        return self.root / "oci" / f"{name}-{tag}"

    def mark(self, layout: Path) -> None:
        """Mark an image as used now, so that it is not the next one to be removed."""
        os.utime(layout)

    def use(self, layout: Path) -> None:
        """Mark an image as used now, and remove all but the latest few of the same name.

        Each change of the sources makes a new one; kept for ever they would fill the disk.
        """
        self.mark(layout)
        name = TAG.sub("", layout.name)
        same = [path for path in layout.parent.iterdir() if TAG.sub("", path.name) == name]
        same.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for old in same[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
