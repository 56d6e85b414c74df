"""The image layer of a bundle: a tar below /models whose bytes depend on its content alone."""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

ROOT: Final = "models"
MEDIA_TYPE: Final = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer in a file."""

    path: Path
    digest: str
    """Of the file."""
    diff_id: str
    """Of the tar inside, as the image's configuration lists it."""
    size: int
    """Bytes of the file."""


class _Hashing(io.RawIOBase):
    """Passes bytes on and hashes them."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self.hash = hashlib.sha256()

    def writable(self) -> bool:
        """Say that bytes may be written."""
        return True

    def write(self, content: Any) -> int:
        """Hash and pass on."""
        self.hash.update(content)
        return self._target.write(content)


def write(
    folder: Path, target: Path, tell: Callable[[int, int], None] = lambda _done, _total: None
) -> Layer:
    """Pack a folder's files below `models/`: sorted, of root, readable by all, at time 0.

    gzip stores without compressing: weights hardly shrink, and the bytes stay the same for every
    version of zlib. Without gzip `oras pull` would not unpack the folder.
    """
    with target.open("wb") as raw:
        outer = _Hashing(raw)
        with gzip.GzipFile("", "wb", 0, cast("IO[bytes]", outer), mtime=0) as packed:
            inner = _Hashing(cast("IO[bytes]", packed))
            _pack(folder, cast("IO[bytes]", inner), tell)
    return Layer(
        path=target,
        digest=f"sha256:{outer.hash.hexdigest()}",
        diff_id=f"sha256:{inner.hash.hexdigest()}",
        size=target.stat().st_size,
    )


def _pack(folder: Path, target: IO[bytes], tell: Callable[[int, int], None]) -> None:
    entries = [folder, *sorted(path for path in folder.rglob("*"))]
    total = sum(path.stat().st_size for path in entries if path.is_file())
    done = 0
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for path in entries:
            info = _entry(path, folder)
            if info.isdir():
                tar.addfile(info)
                continue
            with path.open("rb") as file:
                tar.addfile(info, file)
            done += info.size
            tell(done, total)


def _entry(path: Path, folder: Path) -> tarfile.TarInfo:
    relative = path.relative_to(folder).as_posix()
    info = tarfile.TarInfo(ROOT if relative == "." else f"{ROOT}/{relative}")
    info.mtime = 0
    info.uid = info.gid = 0
    if path.is_dir():
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    else:
        info.size, info.mode = path.stat().st_size, 0o644
    return info
