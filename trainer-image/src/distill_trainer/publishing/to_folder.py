"""Publishes to a folder: an object store's prefix, or a path on a volume."""

import json
import shutil
from pathlib import Path
from typing import Any, Final

from distill_api.names import Reason
from distill_api.outcome import PvcTarget, UriTarget
from distill_common import volumes

from distill_trainer.context import store_options
from distill_trainer.errors import BadInput, TrainerError, TryAgain, is_full, last_line
from distill_trainer.publishing.bundle import Bundle
from distill_trainer.publishing.target import Parcel, Published

LISTING: Final = "artifact.json"
"""Written last: its presence means that every file is there."""


def listing(bundle: Bundle) -> bytes:
    """Write digest, weights' digest and names of what is published."""
    content = {
        "digest": bundle.content_digest,
        "weightsDigest": bundle.weights_digest,
        "files": {
            path.relative_to(bundle.path).as_posix(): path.stat().st_size for path in bundle.files
        },
    }
    return json.dumps(content, indent=1, sort_keys=True).encode()


def publish_uri(target: UriTarget, parcel: Parcel) -> Published:
    """Put every file, then the listing, below a prefix; files that others put there stay."""
    import fsspec

    parcel.secrets.require(target.secret_ref)
    options = store_options(parcel.secrets, target.secret_ref, target.uri)
    uri = target.uri.rstrip("/")
    try:
        filesystem, root = fsspec.core.url_to_fs(uri, **options)
        if not _is_there(filesystem, root, parcel.bundle):
            _put(filesystem, root, parcel)
    except Exception as error:
        raise _classify(target, error) from error
    return Published(uri, parcel.bundle.content_digest)


def _is_there(filesystem: Any, root: str, bundle: Bundle) -> bool:
    try:
        return bool(filesystem.cat_file(f"{root}/{LISTING}") == listing(bundle))
    except FileNotFoundError:
        return False


def _put(filesystem: Any, root: str, parcel: Parcel) -> None:
    done = 0
    for path in parcel.bundle.files:
        relative = path.relative_to(parcel.bundle.path).as_posix()
        filesystem.put_file(str(path), f"{root}/{relative}")
        done += path.stat().st_size
        parcel.tell(done, parcel.bundle.size)
    filesystem.pipe_file(f"{root}/{LISTING}", listing(parcel.bundle))


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


def publish_volume(target: PvcTarget, parcel: Parcel) -> Published:
    """Copy beside the place, then rename, so that a reader never sees half a model."""
    claim = parcel.volumes / target.claim_name
    if not claim.is_dir():
        raise BadInput(
            Reason.REGISTRY_UNREACHABLE,
            f'publish.pvc: claim "{target.claim_name}" is not mounted',
        )
    inside = volumes.inside(target.path)
    place = claim.joinpath(*inside)
    if not _same(place, parcel.bundle):
        _replace(place, parcel)
    path = "/".join(inside)
    return Published(f"pvc://{target.claim_name}/{path}", parcel.bundle.content_digest)


def _same(place: Path, bundle: Bundle) -> bool:
    known = place / LISTING
    return known.is_file() and known.read_bytes() == listing(bundle)


def _replace(place: Path, parcel: Parcel) -> None:
    new, old = (place.with_name(f".{place.name}.{word}") for word in ("new", "old"))
    shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    new.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(parcel.bundle.path, new)
    (new / LISTING).write_bytes(listing(parcel.bundle))
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)
