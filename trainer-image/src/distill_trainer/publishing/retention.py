"""Which older students of a place are removed: decided here, done where the place is known."""

from collections.abc import Iterable, Sequence
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


def doomed(
    versions: Iterable[Version], rule: Retention, current: str, now: datetime
) -> tuple[Version, ...]:
    """Return the students that neither a rule nor a name keeps, oldest first.

    current: digest of the one that was just published; it stays whatever its age.
    """
    named = {current, *rule.keep_digests}
    newest = sorted(versions, key=lambda version: (version.digest != current, -_stamp(version)))
    kept = {version.digest for version in newest[: rule.keep_last or 0]}
    if rule.keep_days is not None:
        since = now - timedelta(days=rule.keep_days)
        kept |= {version.digest for version in newest if version.time >= since}
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
