"""Unpacks archives from outside without letting them write elsewhere."""

import tarfile
import zipfile
from pathlib import Path

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip")


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


def _unzip(archive: Path, into: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        for entry in file.infolist():
            target = (into / entry.filename).resolve()
            if not target.is_relative_to(into.resolve()):
                raise BadArchive(f"{archive.name} was not unpacked: {entry.filename} lies outside")
        file.extractall(into)  # noqa: S202 - every name was checked above
