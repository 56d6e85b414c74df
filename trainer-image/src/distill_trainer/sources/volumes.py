"""Sources that lie on a volume: `pvc://claim/path` and `file:///path`, used in place."""

from pathlib import Path

from distill_common import volumes

from distill_trainer import fingerprints
from distill_trainer.sources.request import Fetched, Request


def fetch(request: Request) -> Fetched:
    """Return the path itself; its digest is that of its content."""
    path = volumes.locate(request.uri, request.volumes)
    if not path.exists():
        raise request.missing(_detail(path, request.volumes))
    if path.is_dir() and not fingerprints.visible_files(path):
        raise request.missing(f"the folder {path} is empty")
    return Fetched(path, fingerprints.tree_digest(path))


def _detail(path: Path, volumes: Path) -> str:
    if path.is_relative_to(volumes):
        claim, *rest = path.relative_to(volumes).parts
        if (volumes / claim).is_dir():
            return f'there is no "{"/".join(rest)}" on the claim "{claim}"'
        return f'the claim "{claim}" is not mounted'
    return f"{path} does not exist in the trainer's pod"
