"""What every kind of target takes and gives."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from distill_trainer.publishing.bundle import Bundle
from distill_trainer.secrets import Secrets
from distill_trainer.storage import Folder


@dataclass(frozen=True, slots=True)
class Parcel:
    """A bundle on its way."""

    bundle: Bundle
    annotations: Mapping[str, str]
    """What the artifact's manifest tells of itself."""
    tag: str
    """Tag where a target names none."""
    secrets: Secrets
    volumes: Path
    scratch: Path
    notes: Folder
    """Survives the pod: how far uploads are that were broken off."""
    now: datetime
    """When the stage began to publish."""
    served: Collection[str] = ()
    """Digests that rollouts name: no retention removes them."""
    tell: Callable[[int, int], None] = lambda _done, _total: None
    """Called with bytes done and in all."""


@dataclass(frozen=True, slots=True)
class Published:
    """Where a bundle is now."""

    uri: str
    digest: str
    media_type: str | None = None
    signature: str | None = None
    """Where its signature is."""
    removed: str | None = None
    """A sentence on what retention removed."""
