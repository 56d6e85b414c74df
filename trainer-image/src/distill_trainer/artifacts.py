"""Stage outputs: a folder whose manifest is written last, so that its presence means complete."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from distill_api.base import Model
from distill_api.names import Stage
from distill_api.status import Usage
from distill_api.wire import Report
from pydantic import Field, ValidationError

from distill_trainer import fingerprints
from distill_trainer.storage import Folder

MANIFEST: Final = "manifest.json"

log = logging.getLogger(__name__)


class FileEntry(Model):
    """One file of an output."""

    path: str
    """Relative to the output's folder, with slashes."""
    size: int
    """Bytes."""
    sha256: str
    """Of the content, hexadecimal."""


class Manifest(Model):
    """What an output consists of and what was reported of it."""

    format: Literal["kubedistill.io/output.v1"] = "kubedistill.io/output.v1"
    """Version of this file."""
    stage: Stage
    """Which stage made it."""
    fingerprint: str
    """Digest of everything that it depends on."""
    job: str
    """UID of the DistillationJob that made it."""
    code_version: str
    """Version of kubedistill that made it."""
    inputs: dict[str, str] = Field(default_factory=dict)
    """Digests of what it was made from."""
    files: list[FileEntry]
    """Its files."""
    report: Report
    """What was reported, told again when the output is used again."""


@dataclass(frozen=True, slots=True)
class Output:
    """A complete output, whose files are at `path`."""

    folder: Folder
    manifest: Manifest
    job: str
    """UID of the job that looks at it."""

    @property
    def path(self) -> Path:
        """Return the local folder with the files."""
        return self.folder.path

    @property
    def fingerprint(self) -> str:
        """Return the digest of everything that the output depends on."""
        return self.manifest.fingerprint

    @property
    def inputs(self) -> Mapping[str, str]:
        """Return the digests of what the output was made from."""
        return self.manifest.inputs

    def reused(self) -> Report:
        """Return the report of an output that was complete already.

        What it used up counts only for the job that made it: a lost report is told again, labels
        of another job's cache cost nothing.
        """
        usage = self.manifest.report.usage if self.manifest.job == self.job else Usage()
        return self.manifest.report.model_copy(update={"reused": True, "usage": usage})


def describe(folder: Folder, leave_out: Iterable[str] = ()) -> list[FileEntry]:
    """List an output's files with their digests. leave_out: names directly below the folder."""
    without = {MANIFEST, *leave_out}
    return [
        FileEntry(
            path=path.relative_to(folder.path).as_posix(),
            size=path.stat().st_size,
            sha256=fingerprints.file_digest(path),
        )
        for path in fingerprints.visible_files(folder.path)
        if path.relative_to(folder.path).parts[0] not in without
    ]


def read(folder: Folder) -> Manifest | None:
    """Return a folder's manifest, or None where it has none that can be read."""
    content = folder.read(MANIFEST)
    if content is None:
        return None
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        log.warning("%s/%s cannot be read (%d errors)", folder.uri, MANIFEST, error.error_count())
        return None


def damage(folder: Folder, manifest: Manifest) -> str | None:
    """Say what differs from the manifest, or None where every file is as it was written.

    The files are brought to the folder's path first, because only whole ones can be hashed.
    """
    sizes = folder.sizes()
    for entry in manifest.files:
        if sizes.get(entry.path) != entry.size:
            return f"{entry.path} has {sizes.get(entry.path, 'no')} bytes instead of {entry.size}"
    names = {entry.path for entry in manifest.files}
    folder.pull(names.__contains__)
    for entry in manifest.files:
        if fingerprints.file_digest(folder.path / entry.path) != entry.sha256:
            return f"the content of {entry.path} has changed"
    return None


def find(folder: Folder, job: str) -> Output | None:
    """Return a folder's complete output; a damaged one loses its manifest and counts as absent."""
    manifest = read(folder)
    if manifest is None:
        return None
    wrong = damage(folder, manifest)
    if wrong is None:
        return Output(folder, manifest, job)
    log.warning("The output in %s is damaged and will be made again: %s", folder.uri, wrong)
    folder.remove(MANIFEST)
    return None
