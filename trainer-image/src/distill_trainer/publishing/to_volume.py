"""Publishes to a folder on a volume: copied beside the place, flushed, checked, then exchanged."""

import contextlib
import ctypes
import errno
import os
import shutil
import time
from pathlib import Path
from typing import Final

from distill_api.names import Reason
from distill_api.targets import PvcTarget
from distill_common import volumes

from distill_trainer import fingerprints, storage
from distill_trainer.errors import BadInput, TryAgain
from distill_trainer.publishing import listing
from distill_trainer.publishing.listing import Entry
from distill_trainer.publishing.target import Parcel, Published

_CURRENT_FOLDER: Final = -100
_EXCHANGE: Final = 2
"""Linux's AT_FDCWD and RENAME_EXCHANGE."""
STALE: Final = 86_400.0
"""Seconds after which nobody goes on with a copy."""
_NO_EXCHANGE: Final = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM}
"""Network file systems cannot exchange two names."""


def publish(target: PvcTarget, parcel: Parcel) -> Published:
    """Put the bundle in its place, so that a reader sees the old student or the new, never half."""
    claim = parcel.volumes / target.claim_name
    if not claim.is_dir():
        raise BadInput(
            Reason.REGISTRY_UNREACHABLE,
            f'publish.pvc: claim "{target.claim_name}" is not mounted',
        )
    inside = volumes.inside(target.path)
    place = claim.joinpath(*inside)
    if not _same(place, parcel):
        _replace(place, parcel)
    _tidy(place)
    path = "/".join(inside)
    return Published(f"pvc://{target.claim_name}/{path}", parcel.bundle.content_digest)


def _same(place: Path, parcel: Parcel) -> bool:
    known = place / listing.NAME
    if not known.is_file() or known.read_bytes() != parcel.bundle.listing:
        return False
    return listing.damage(place) is None


def _replace(place: Path, parcel: Parcel) -> None:
    """Fill a folder of the bundle's own name; what an attempt before has copied is used."""
    new = place.with_name(f".{place.name}.{fingerprints.short(parcel.bundle.content_digest)}.new")
    new.mkdir(parents=True, exist_ok=True)
    _fill(new, parcel)
    if wrong := listing.damage(new):
        raise TryAgain(
            Reason.REGISTRY_UNREACHABLE,
            f"publish.pvc: {wrong} on the volume after it was written: check the volume",
        )
    _exchange(new, place)
    _flush_folder(place.parent)


def _tidy(place: Path) -> None:
    """Remove what publications to this place have left that were killed.

    One that goes on changes its folder more often, so it is left alone.
    """
    for left in place.parent.glob(f".{place.name}.*.new"):
        with contextlib.suppress(FileNotFoundError):  # its own job was faster
            if time.time() - left.stat().st_mtime > STALE:
                shutil.rmtree(left, ignore_errors=True)


def _fill(new: Path, parcel: Parcel) -> None:
    entries, done = parcel.bundle.entries, 0
    for path in fingerprints.visible_files(new):
        if path.relative_to(new).as_posix() not in {entry.name for entry in entries}:
            path.unlink()
    for entry in entries:
        target = new / entry.name
        if not _copied(target, entry):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(parcel.bundle.path / entry.name, target)
            storage.flush(target)
        done += entry.size
        parcel.tell(done, parcel.bundle.size)
    storage.write_atomic(new / listing.NAME, parcel.bundle.listing)
    for folder in (new, *(path for path in new.rglob("*") if path.is_dir())):
        _flush_folder(folder)


def _copied(path: Path, entry: Entry) -> bool:
    if not path.is_file() or path.stat().st_size != entry.size:
        return False
    return fingerprints.file_digest(path) == entry.sha256


def _exchange(new: Path, place: Path) -> None:
    """Give a folder another one's name, and remove the other one."""
    if not place.exists():
        new.rename(place)
        return
    if not _exchanged(new, place):
        # Between these two the place is empty: whoever reads finds nothing, but never half.
        old = place.with_name(f".{place.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        place.rename(old)
        new.rename(place)
        new = old
    shutil.rmtree(new, ignore_errors=True)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two names at once; False where the file system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    here = ctypes.c_int(_CURRENT_FOLDER)
    if not rename(here, os.fsencode(one), here, os.fsencode(other), ctypes.c_uint(_EXCHANGE)):
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(other))


def _flush_folder(folder: Path) -> None:
    """Make names in a folder survive the loss of its node."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
