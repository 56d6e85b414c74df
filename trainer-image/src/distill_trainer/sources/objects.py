"""Sources in an object store: `s3://bucket/prefix` and `gs://bucket/prefix`, through fsspec."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill_trainer import fingerprints
from distill_trainer.context import store_options
from distill_trainer.errors import TrainerError, last_line
from distill_trainer.publishing import listing, to_store
from distill_trainer.sources import archives
from distill_trainer.sources.request import Fetched, Request


def fetch(request: Request) -> Fetched:
    """Download an object, or every object below a prefix; archives are unpacked."""
    import fsspec

    options = store_options(request.secrets, request.secret, request.uri)
    try:
        filesystem, root = fsspec.core.url_to_fs(request.uri, **options)
        root = _pointed(filesystem, root.rstrip("/"))
        found: Mapping[str, Mapping[str, Any]] = filesystem.find(root, detail=True)
        path = _download(filesystem, root, found, request) if found else None
    except TrainerError:
        raise
    except Exception as error:
        raise classify(request, error) from error
    if path is None:
        raise request.missing("there is no object with this name or prefix")
    return Fetched(path, fingerprints.tree_digest(path))


def _pointed(filesystem: Any, root: str) -> str:
    """Return the folder of the newest student that was published to a prefix, or the prefix."""
    try:
        folder = to_store.pointed(filesystem.cat_file(f"{root}/{listing.NAME}"))
    except (FileNotFoundError, PermissionError):
        return root  # a store without leave to list hides what is absent
    return f"{root}/{folder}" if folder else root


def _download(
    filesystem: Any, root: str, found: Mapping[str, Mapping[str, Any]], request: Request
) -> Path:
    total = sum(int(info["size"]) for info in found.values())
    done = 0
    for name, info in sorted(found.items()):
        relative = name.removeprefix(root).lstrip("/") or name.rpartition("/")[2]
        target = request.into / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        filesystem.get_file(name, str(target))
        done += int(info["size"])
        request.tell(done, total)
    if list(found) == [root]:
        return _single(request.into / root.rpartition("/")[2], request.into)
    return request.into


def _single(file: Path, into: Path) -> Path:
    if not archives.is_archive(file.name):
        return file
    archives.unpack(file, into / "unpacked")
    file.unlink()
    return into / "unpacked"


def classify(request: Request, error: Exception) -> TrainerError | Exception:
    """Say what a failure of an object store means. Full disks stay what they are."""
    detail = last_line(error)
    match error:
        case FileNotFoundError():
            return request.missing(detail)
        case PermissionError():
            return request.refused(detail)
        case OSError() if error.errno and error.errno > 0 and error.filename:
            return error
        case _ if "NoCredentials" in type(error).__name__ or "credentials" in str(error).lower():
            return request.refused(detail)
        case _:
            return request.unreachable(detail)
