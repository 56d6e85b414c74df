"""Which older students of a place are removed: decided here, done where the place is known."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from distill_api.targets import Retention

SHOWN: Final = 4
"""Digests that a sentence names."""


@dataclass(frozen=True, slots=True)
class Version:
    """A student that was published to a place."""

    digest: str
    time: datetime
    """When it was published last."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """The publication after which older students are removed."""

    current: str
    """Digest of the student that was just published; it stays whatever its age."""
    began: datetime
    """What was published since then is another job's, and newer than this one."""
    served: Collection[str] = ()
    """Digests that are in use; they stay."""


def doomed(versions: Iterable[Version], rule: Retention, occasion: Occasion) -> tuple[Version, ...]:
    """Return the students that neither a rule nor a name keeps, oldest first."""
    current, now = occasion.current, occasion.began
    named = {current, *rule.keep_digests, *occasion.served}
    newest = sorted(versions, key=lambda version: (version.digest != current, -_stamp(version)))
    kept = {version.digest for version in newest[: rule.keep_last or 0]}
    if rule.keep_days is not None:
        since = now - timedelta(days=rule.keep_days)
        kept |= {version.digest for version in newest if version.time >= since}
    # Two jobs that publish here at once must not remove each other's: what is newer is not older.
    kept |= {version.digest for version in newest if version.time > now}
    return tuple(v for v in reversed(newest) if v.digest not in kept | named)


def _stamp(version: Version) -> float:
    return version.time.timestamp()


def sentence(versions: Sequence[Version], rule: Retention) -> str | None:
    """Say what was removed, or would be; None where nothing is."""
    if not versions:
        return None
    shown = ", ".join(version.digest[:19] for version in versions[:SHOWN])
    more = f" and {len(versions) - SHOWN} more" if len(versions) > SHOWN else ""
    verb = "Retention would remove" if rule.dry_run else "Retention removed"
    return f"{verb} {len(versions)} older: {shown}{more}"
