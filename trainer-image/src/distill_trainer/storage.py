"""Folders behind URIs: a volume is used in place, an object store through a local mirror."""

import errno
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}
"""Some network file systems have no hard links."""
MARKER = "COMPLETE"
"""A file of this name is sent after all others of its folder."""


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder: `path` is where to read and write; `push` and `pull` move files to the store.

    On a volume both are the same place, and moving does nothing but flush.
    """

    uri: str
    path: Path
    filesystem: Any = None
    """None on a volume; else fsspec's file system."""
    root: str = ""
    """The folder inside the file system."""

    @property
    def local(self) -> bool:
        """Tell whether the folder is used in place."""
        return self.filesystem is None

    def child(self, name: str) -> "Folder":
        """Return a folder below this one."""
        root = f"{self.root}/{name}" if self.root else name
        return Folder(f"{self.uri.rstrip('/')}/{name}", self.path / name, self.filesystem, root)

    def read(self, name: str) -> bytes | None:
        """Return a file's content from the store; None where it is absent."""
        try:
            if self.local:
                return (self.path / name).read_bytes()
            return bytes(self.filesystem.cat_file(f"{self.root}/{name}"))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write a whole file at once: a reader sees the old content or the new, never a part."""
        write_atomic(self.path / name, content)
        self.push(name)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file unless it exists already; False where another writer was first."""
        made = create_atomic(self.path / name, content)
        if self.local:
            return made
        target = f"{self.root}/{name}"
        self.filesystem.invalidate_cache()
        if self.filesystem.exists(target):
            self.filesystem.get_file(target, str(self.path / name))
            return False
        self.push(name)
        return True

    def sizes(self) -> dict[str, int]:
        """List the files in the store by their relative names, with sizes in bytes."""
        if self.local:
            return {
                path.relative_to(self.path).as_posix(): path.stat().st_size
                for path in sorted(self.path.rglob("*"))
                if path.is_file()
            }
        found = self._listing()
        prefix = self.root.rstrip("/") + "/"
        return {
            name.removeprefix(prefix): int(info["size"]) for name, info in sorted(found.items())
        }

    def _listing(self) -> Mapping[str, Mapping[str, Any]]:
        self.filesystem.invalidate_cache()
        try:
            found: Mapping[str, Mapping[str, Any]] = self.filesystem.find(self.root, detail=True)
        except FileNotFoundError:
            return {}
        return found

    def push(self, name: str) -> None:
        """Send a file, or a folder with its marker last, from `path` to the store."""
        for file in _marker_last(self.path / name):
            if self.local:
                flush(file)
            else:
                relative = file.relative_to(self.path).as_posix()
                self.filesystem.put_file(str(file), f"{self.root}/{relative}")

    def pull(self, wanted: Callable[[str], bool] = lambda _: True) -> None:
        """Bring the store's files to `path`; those that are there with the same size stay."""
        if self.local:
            return
        for name, size in self.sizes().items():
            target = self.path / name
            if not wanted(name) or (target.is_file() and target.stat().st_size == size):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            self.filesystem.get_file(f"{self.root}/{name}", str(target))

    def remove(self, name: str) -> None:
        """Remove a file or folder here and in the store; absent is fine."""
        path = self.path / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        if not self.local:
            self._remove_remote(f"{self.root}/{name}")

    def _remove_remote(self, target: str) -> None:
        self.filesystem.invalidate_cache()
        try:
            self.filesystem.rm(target, recursive=True)
        except FileNotFoundError:
            return

    def remove_all(self) -> None:
        """Remove the folder itself."""
        shutil.rmtree(self.path, ignore_errors=True)
        if not self.local:
            self._remove_remote(self.root)


def open_folder(uri: str, mirrors: Path, options: Mapping[str, Any]) -> Folder:
    """Open the folder behind `file:///path`, `s3://bucket/prefix` or `gs://bucket/prefix`.

    mirrors: where local copies of an object store's files are kept.
    options: fsspec's, such as key, secret, client_kwargs.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Folder(uri, Path(parts.path))
    import fsspec

    filesystem, root = fsspec.core.url_to_fs(uri, **options)
    mirror = mirrors / parts.scheme / parts.netloc / parts.path.strip("/")
    return Folder(uri, mirror, filesystem, root.rstrip("/"))


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file under a temporary name beside its own, flush it, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        _write_through(temporary, content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def create_atomic(path: Path, content: bytes) -> bool:
    """Write a file at once unless it exists: a link fails where a rename would replace."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        _write_through(temporary, content)
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _temporary(path: Path) -> Path:
    """Name a file beside another; at random, as every pod's process has the same number."""
    return path.with_name(f".{path.name}.{token_hex(8)}.tmp")


def _write_through(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush(path: Path) -> None:
    """Make a file survive the loss of its node."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _marker_last(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return sorted(files, key=lambda file: PurePosixPath(file).name == MARKER)
