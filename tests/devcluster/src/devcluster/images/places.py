"""Where built images lie: below the user's cache folder, safe to delete at any time."""

import os
from dataclasses import dataclass
from pathlib import Path


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
