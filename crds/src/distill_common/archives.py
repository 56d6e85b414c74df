"""Unpacks archives from outside without letting them write elsewhere."""

import shutil
import tarfile
import zipfile
from pathlib import Path

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip")

WHITEOUT = ".wh."
"""Prefix of an entry that removes a file of the layers below."""
OPAQUE = ".wh..wh..opq"
"""Name of an entry that removes everything below its folder."""


class BadArchive(Exception):
    """An archive that is broken or unsafe; the text says which, and why."""


def is_archive(name: str) -> bool:
    """Tell by its name whether a file is an archive that we unpack."""
    return name.lower().endswith(SUFFIXES)


def unpack(archive: Path, into: Path) -> None:
    """Unpack a tar or zip file; raises BadArchive where it is broken or reaches outside.

    tarfile's "data" filter refuses absolute names, `..`, links that lead out, and devices.
    """
    try:
        if zipfile.is_zipfile(archive):
            _unzip(archive, into)
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(into, filter="data")
    except tarfile.FilterError as error:
        raise BadArchive(f"{archive.name} was not unpacked, an entry is unsafe: {error}") from error
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError) as error:
        raise BadArchive(
            f"{archive.name} is not a tar or zip archive that can be read: {error}"
        ) from error


def unpack_layer(layer: Path, into: Path) -> None:
    """Unpack a layer of an image upon those below it: a whiteout removes what they have.

    Raises BadArchive as `unpack` does.
    """

    def place(member: tarfile.TarInfo, target: str) -> tarfile.TarInfo | None:
        folder, _, name = member.name.rpartition("/")
        if not name.startswith(WHITEOUT):
            return tarfile.data_filter(member, target)
        if name == OPAQUE:
            hidden = [*_inside(into, folder).iterdir()] if _inside(into, folder).is_dir() else []
        else:
            hidden = [_inside(into, f"{folder}/{name.removeprefix(WHITEOUT)}")]
        for path in hidden:
            _remove(path)
        return None

    try:
        with tarfile.open(layer) as tar:
            tar.extractall(into, filter=place)  # noqa: S202 - each member passes the data filter
    except tarfile.FilterError as error:
        raise BadArchive(f"the layer was not unpacked, an entry is unsafe: {error}") from error
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise BadArchive(f"the layer is no tar archive that can be read: {error}") from error


def _inside(into: Path, name: str) -> Path:
    """Return a path below a folder; a name that leads out of it is unsafe."""
    path = into / name.lstrip("/")
    if not path.parent.resolve().is_relative_to(into.resolve()) or path.name == "..":
        raise BadArchive(f"the layer was not unpacked: {name} lies outside")
    return path


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _unzip(archive: Path, into: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        for entry in file.infolist():
            target = (into / entry.filename).resolve()
            if not target.is_relative_to(into.resolve()):
                raise BadArchive(f"{archive.name} was not unpacked: {entry.filename} lies outside")
        file.extractall(into)  # noqa: S202 - every name was checked above
