"""Publishes to an object store: a folder of the content's digest, its list last, then a pointer.

A folder never changes once its list is there, so whoever reads by the URI in status, or by the
pointer, has the whole of one student.
"""

import json
from datetime import datetime
from typing import Any, Final

from distill_api.names import Reason
from distill_api.targets import Retention, UriTarget

from distill_trainer.context import store_options
from distill_trainer.errors import BadInput, TrainerError, TryAgain, is_full, last_line
from distill_trainer.publishing import listing, retention
from distill_trainer.publishing.bundle import Bundle
from distill_trainer.publishing.listing import Entry
from distill_trainer.publishing.objects import Objects
from distill_trainer.publishing.retention import Occasion, Version
from distill_trainer.publishing.target import Parcel, Published

POINTER_FORMAT: Final = "kubedistill.io/pointer.v1"


def publish(target: UriTarget, parcel: Parcel) -> Published:
    """Put the bundle below a prefix; files that others put there stay."""
    import fsspec

    parcel.secrets.require(target.secret_ref)
    options = store_options(parcel.secrets, target.secret_ref, target.uri)
    uri, folder = target.uri.rstrip("/"), folder_of(parcel.bundle.content_digest)
    try:
        filesystem, root = fsspec.core.url_to_fs(uri, **options)
        store = Objects(filesystem, root.rstrip("/"))
        _put(store, folder, parcel)
        removed = _retain(store, target.retention, parcel)
    except TrainerError:
        raise
    except Exception as error:
        raise _classify(target, error) from error
    return Published(f"{uri}/{folder}", parcel.bundle.content_digest, removed=removed)


def folder_of(digest: str) -> str:
    """Return the name of the folder that holds what has this digest."""
    return digest.replace(":", "-")


def pointed(content: bytes | None) -> str | None:
    """Return the folder that a pointer names; None where it is none."""
    folder = listing.read(content).get("folder")
    return folder if isinstance(folder, str) and folder.startswith("sha256-") else None


def _pointer(bundle: Bundle) -> bytes:
    content = {
        "format": POINTER_FORMAT,
        "digest": bundle.content_digest,
        "weightsDigest": bundle.weights_digest,
        "folder": folder_of(bundle.content_digest),
    }
    return json.dumps(content, indent=1, sort_keys=True).encode()


def _put(store: Objects, folder: str, parcel: Parcel) -> None:
    bundle = parcel.bundle
    store.filesystem.invalidate_cache()
    listed = store.read(f"{folder}/{listing.NAME}") == bundle.listing
    # A list that is there was true once: what somebody removed since is sent again.
    if not listed or not all(store.lists(f"{folder}/{one.name}", one) for one in bundle.entries):
        _send(store, folder, parcel)
        store.write(f"{folder}/{listing.NAME}", bundle.listing)
    if store.read(listing.NAME) != _pointer(bundle):
        store.write(listing.NAME, _pointer(bundle))


def _send(store: Objects, folder: str, parcel: Parcel) -> None:
    """Send every file that is not there; one that is there is checked byte by byte."""
    done = 0
    for entry in parcel.bundle.entries:
        _ensure(store, folder, entry, parcel, done)
        done += entry.size
        parcel.tell(done, parcel.bundle.size)


def _ensure(store: Objects, folder: str, entry: Entry, parcel: Parcel, before: int) -> None:
    """Send a file unless it is there, and check what the store holds; a damaged one is replaced."""

    def tell(done: int) -> None:
        parcel.tell(before + done, parcel.bundle.size)

    name, path = f"{folder}/{entry.name}", parcel.bundle.path / entry.name
    if store.holds(name, entry):
        return
    store.send(path, name, entry, tell)
    if not store.holds(name, entry):
        raise TryAgain(
            Reason.REGISTRY_UNREACHABLE,
            f"publish.s3: the object store holds other bytes of {entry.name} than were sent:"
            " check it, the stage is tried again",
        )


def _retain(store: Objects, rule: Retention | None, parcel: Parcel) -> str | None:
    if rule is None:
        return None
    try:
        return _removed(store, rule, parcel)
    except Exception as error:  # noqa: BLE001 - the student is there, whatever becomes of older ones
        return f"Retention could not be applied: {last_line(error)}"


def _removed(store: Objects, rule: Retention, parcel: Parcel) -> str | None:
    # Another job may have published in between: who follows its pointer must find its student.
    newest = pointed(store.read(listing.NAME)) or ""
    served = {*parcel.served, newest.replace("-", ":", 1)}
    occasion = Occasion(parcel.bundle.content_digest, parcel.now, served)
    doomed = retention.doomed(_versions(store), rule, occasion)
    for version in () if rule.dry_run else doomed:
        # Its list first: a reader then finds no student instead of half of one.
        store.remove(f"{folder_of(version.digest)}/{listing.NAME}")
        store.remove(folder_of(version.digest))
    return retention.sentence(doomed, rule)


def _versions(store: Objects) -> list[Version]:
    """Return the students whose lists are there, which only a whole publication has."""
    found: list[Version] = []
    for name, info in store.find().items():
        folder, _, rest = name.partition("/")
        if rest == listing.NAME and folder.startswith("sha256-"):
            found.append(Version(folder.replace("-", ":"), _time(info)))
    return found


def _time(info: Any) -> datetime:
    modified = info["LastModified"]
    assert isinstance(modified, datetime)
    return modified


def _classify(target: UriTarget, error: Exception) -> TrainerError | Exception:
    detail = last_line(error)
    if is_full(error):
        return error
    if isinstance(error, FileNotFoundError):
        return BadInput(
            Reason.REGISTRY_UNREACHABLE,
            f"publish.s3.uri {target.uri}: the bucket does not exist ({detail}). Create it",
        )
    refused = isinstance(error, PermissionError) or "credentials" in str(error).lower()
    if refused and target.secret_ref is None:
        return BadInput(
            Reason.REGISTRY_UNREACHABLE,
            f"publish.s3.uri {target.uri} was refused ({detail}): name a Secret with credentials"
            " that may write there in publish.s3.secretRef",
        )
    if refused and target.secret_ref is not None:
        return TryAgain(
            Reason.SECRET_MISSING,
            f"publish.s3.uri {target.uri} was refused ({detail}) with the credentials of Secret"
            f' "{target.secret_ref.name}": correct it, the stage is tried again',
        )
    return TryAgain(
        Reason.REGISTRY_UNREACHABLE,
        f"publish.s3.uri {target.uri} could not be reached ({detail}): check the endpoint",
    )
