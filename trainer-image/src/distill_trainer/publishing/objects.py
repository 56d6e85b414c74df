"""Objects in an S3 bucket: sent in parts that survive the pod, checked, found again by checksum."""

import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from distill_trainer.publishing.listing import Entry

PART: Final = 64 << 20
"""Bytes of a part; S3 allows 10000 of them, so an object may have 625 GiB."""
_CHUNK: Final = 1 << 20
_SHA: Final = "sha256"
"""Key of the metadata in which an object carries the digest of its content."""


@dataclass(frozen=True, slots=True)
class Objects:
    """A prefix in a bucket, through s3fs."""

    filesystem: Any
    root: str
    """`bucket/prefix`."""
    part: int = PART

    @property
    def _sums(self) -> bool:
        """Tell whether the store may be asked for checksums; what lies in others is read back."""
        chosen = self.filesystem.config_kwargs.get("request_checksum_calculation")
        return bool(chosen != "when_required")

    def key(self, name: str) -> dict[str, str]:
        """Return bucket and key of an object below the prefix, as S3's calls take them."""
        bucket, key, _ = self.filesystem.split_path(f"{self.root}/{name}")
        return {"Bucket": bucket, "Key": key}

    def call(self, method: str, **arguments: Any) -> Mapping[str, Any]:
        """Call S3; s3fs tries again what may pass and turns errors into OSError."""
        answer: Mapping[str, Any] = self.filesystem.call_s3(method, **arguments)
        return answer

    def read(self, name: str) -> bytes | None:
        """Return a small object's content; None where it is absent."""
        try:
            return bytes(self.filesystem.cat_file(f"{self.root}/{name}"))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write a small object; a reader sees the old one or the new."""
        self.filesystem.pipe_file(f"{self.root}/{name}", content)

    def holds(self, name: str, entry: Entry) -> bool:
        """Tell whether the store holds a file: by its own checksum, else by reading it back."""
        head = self._head(name)
        if not _claims(head, entry):
            return False
        if head.get("ChecksumSHA256") == _base64(bytes.fromhex(entry.sha256)):
            return True
        hasher = hashlib.sha256()
        with self.filesystem.open(f"{self.root}/{name}", "rb", cache_type="readahead") as file:
            while chunk := file.read(_CHUNK):
                hasher.update(chunk)
        return hasher.hexdigest() == entry.sha256

    def lists(self, name: str, entry: Entry) -> bool:
        """Tell whether the store says that it holds a file, without reading it."""
        return _claims(self._head(name), entry)

    def _head(self, name: str) -> Mapping[str, Any]:
        try:
            sums = {"ChecksumMode": "ENABLED"} if self._sums else {}
            return self.call("head_object", **self.key(name), **sums)
        except FileNotFoundError:
            return {}

    def send(self, path: Path, name: str, entry: Entry, tell: Callable[[int], None]) -> None:
        """Send a file; readers see nothing of it before its last byte is there.

        tell: called with the bytes of this file that are done.
        """
        if entry.size > self.part:
            self._send_parts(path, name, entry, tell)
            return
        checksum = _base64(bytes.fromhex(entry.sha256))
        content = path.read_bytes()
        given = {"Body": content, "Metadata": {_SHA: entry.sha256}}
        sums = {"ChecksumSHA256": checksum} if self._sums else {}
        self.call("put_object", **self.key(name), **given, **sums)
        tell(entry.size)

    def _send_parts(self, path: Path, name: str, entry: Entry, tell: Callable[[int], None]) -> None:
        upload = self._begun(name) or self._begin(name, entry)
        known, parts = self._parts(upload), []
        for number, content in _pieces(path, self.part):
            tag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
            if known.get(number) != (tag, len(content)):
                given = {"PartNumber": number, "Body": content}
                tag = self.call("upload_part", **upload, **given)["ETag"]
            parts.append({"PartNumber": number, "ETag": tag})
            tell(min(number * self.part, entry.size))
        self.call("complete_multipart_upload", **upload, MultipartUpload={"Parts": parts})

    def _begin(self, name: str, entry: Entry) -> dict[str, Any]:
        made = self.call("create_multipart_upload", **self.key(name), Metadata={_SHA: entry.sha256})
        return {**self.key(name), "UploadId": made["UploadId"]}

    def _begun(self, name: str) -> dict[str, Any] | None:
        """Return the newest upload of this object that was broken off.

        The folder bears the digest of all content, so its parts are parts of the same file.
        """
        where = self.key(name)
        try:
            found = self.call("list_multipart_uploads", Bucket=where["Bucket"], Prefix=where["Key"])
        except (PermissionError, NotImplementedError):
            return None  # who may write need not be allowed to list
        same = [u for u in found.get("Uploads") or () if u["Key"] == where["Key"]]
        if not same:
            return None
        newest = max(same, key=lambda upload: upload["Initiated"])
        return {**where, "UploadId": newest["UploadId"]}

    def _parts(self, upload: Mapping[str, Any]) -> dict[int, tuple[str, int]]:
        """Return tag and size of the parts that are there, by their number."""
        found: dict[int, tuple[str, int]] = {}
        marker = 0
        while True:
            told = self.call("list_parts", **upload, PartNumberMarker=marker)
            found |= {p["PartNumber"]: (p["ETag"], p["Size"]) for p in told.get("Parts") or ()}
            if not told.get("IsTruncated"):
                return found
            marker = told["NextPartNumberMarker"]

    def remove(self, name: str) -> None:
        """Remove an object or everything below a prefix; absent is fine."""
        self.filesystem.invalidate_cache()
        try:
            self.filesystem.rm(f"{self.root}/{name}", recursive=True)
        except FileNotFoundError:
            return

    def find(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what is below the prefix, by name relative to it."""
        self.filesystem.invalidate_cache()
        found: Mapping[str, Mapping[str, Any]] = self.filesystem.find(self.root, detail=True)
        prefix = self.root.rstrip("/") + "/"
        return {name.removeprefix(prefix): info for name, info in found.items()}


def _claims(head: Mapping[str, Any], entry: Entry) -> bool:
    """Tell whether an object's size and the digest that it was sent with are a file's."""
    sent = (head.get("Metadata") or {}).get(_SHA)
    return (head.get("ContentLength"), sent) == (entry.size, entry.sha256)


def _pieces(path: Path, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield a file's parts with their numbers, from 1."""
    number = 1
    with path.open("rb") as file:
        while content := file.read(size):
            yield number, content
            number += 1


def _base64(content: bytes) -> str:
    return b64encode(content).decode()
