"""Where a URI of a volume lies in a pod, and paths from outside that cannot leave their folder."""

from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit


def locate(uri: str, volumes: Path) -> Path:
    """Return where `pvc://claim/path` or `file:///path` lies; `..` cannot leave the claim.

    volumes: folder in which each claim is mounted by its name.
    """
    parts = urlsplit(uri)
    path = unquote(parts.path)
    if parts.scheme == "file":
        return Path(path)
    return volumes.joinpath(parts.netloc, *inside(path))


def inside(path: str) -> list[str]:
    """Return the names that lead into a folder: without a root, `.` and `..`."""
    return [part for part in PurePosixPath(path).parts if part not in {"/", "..", "."}]
