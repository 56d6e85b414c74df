"""What kubedistill has published to a repository, as an index of its own tag: retention's memory.

A registry does not tell when a tag was set, and a manifest of ours holds no time, as equal students
have equal digests. Two jobs that write the index at once may lose an entry of it: that student is
then never removed.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from distill_api.targets import Retention
from distill_common.registry import Client, Reference, RegistryError

from distill_trainer.errors import last_line
from distill_trainer.publishing import manifests, retention, signing
from distill_trainer.publishing.retention import Occasion, Version

TAG: Final = "kubedistill-history"
_TYPE: Final = "application/vnd.kubedistill.history.v1+json"
_TAGGED: Final = "org.opencontainers.image.ref.name"
_CREATED: Final = "org.opencontainers.image.created"


@dataclass(frozen=True, slots=True)
class Edition:
    """A student in the repository."""

    digest: str
    size: int
    """Bytes of its manifest."""
    tag: str
    """Tag that it was published under last."""
    time: datetime

    @property
    def version(self) -> Version:
        """Return what retention's rules look at."""
        return Version(self.digest, self.time)


def retain(
    client: Client, where: Reference, rule: Retention, new: Edition, served: Collection[str] = ()
) -> str | None:
    """Write a student down and remove older ones; returns a sentence on what was removed.

    The student is published already, so nothing that fails here is a failure of the publication.
    served: digests that are in use; they stay.
    """
    try:
        return _retain(client, where, rule, new, served)
    except RegistryError as error:
        return f"Retention could not be applied: {error}"
    except Exception as error:  # noqa: BLE001 - whatever somebody else wrote under our tag
        return f"Retention could not be applied: {last_line(error)}"


def _retain(
    client: Client, where: Reference, rule: Retention, new: Edition, served: Collection[str]
) -> str | None:
    older = [e for e in _read(client, where) if e.digest != new.digest]
    there = [e for e in older if manifests.get(client, where, e.digest) is not None]
    # Before anything is removed: a student that is not written down would stay for ever.
    _write(client, where, [new, *there])
    occasion = Occasion(new.digest, new.time, served)
    doomed = retention.doomed([e.version for e in (new, *there)], rule, occasion)
    if rule.dry_run or not doomed:
        return retention.sentence(doomed, rule)
    gone, held = _remove(client, where, doomed, {e.tag for e in there} | {new.tag})
    lost = {version.digest for version in gone}
    _write(client, where, [new, *(e for e in there if e.digest not in lost)])
    return ". ".join(filter(None, (retention.sentence(gone, rule), held))) or None


def _remove(
    client: Client, where: Reference, doomed: Iterable[Version], own: set[str]
) -> tuple[tuple[Version, ...], str]:
    """Remove students; those that a tag of somebody else points to stay."""
    doomed = tuple(doomed)
    held = _foreign(client, where, own)
    gone = tuple(version for version in doomed if version.digest not in held)
    for version in gone:
        # The signature last: a student without one is worse than the other way round.
        manifests.remove(client, where, version.digest)
        if signature := manifests.resolve(client, where, signing.tag(version.digest)):
            manifests.remove(client, where, signature)
    stay = [
        f"{v.digest[:19]} stays, as tag {held[v.digest]} names it" for v in doomed if v not in gone
    ]
    return gone, ". ".join(stay)


def _foreign(client: Client, where: Reference, own: set[str]) -> Mapping[str, str]:
    """Return the digests that tags point to which are not ours, with such a tag."""
    others = [
        tag
        for tag in manifests.tags(client, where)
        if tag not in own and tag != TAG and not tag.endswith(".sig")
    ]
    found = {manifests.resolve(client, where, tag): tag for tag in others}
    return {digest: tag for digest, tag in found.items() if digest is not None}


def _read(client: Client, where: Reference) -> list[Edition]:
    content = manifests.get(client, where, TAG)
    index = json.loads(content) if content else {}
    if index.get("artifactType") != _TYPE:
        return []
    return [_edition(entry) for entry in index["manifests"]]


def _edition(entry: Mapping[str, Any]) -> Edition:
    notes = entry["annotations"]
    time = datetime.fromisoformat(notes[_CREATED])
    return Edition(entry["digest"], entry["size"], notes[_TAGGED], time)


def _write(client: Client, where: Reference, editions: Iterable[Edition]) -> None:
    index = {
        "schemaVersion": 2,
        "mediaType": manifests.INDEX_TYPE,
        "artifactType": _TYPE,
        "manifests": [
            {
                "mediaType": manifests.MANIFEST_TYPE,
                "digest": edition.digest,
                "size": edition.size,
                "annotations": {_TAGGED: edition.tag, _CREATED: edition.time.isoformat()},
            }
            for edition in editions
        ],
    }
    manifests.put(client, where, TAG, manifests.encode(index), manifests.INDEX_TYPE)
