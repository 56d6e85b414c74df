"""Uploads of blobs to an OCI registry: in chunks that a later pod goes on with."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from distill_common import registry
from distill_common.registry import Client, Reference, RegistryError

from distill_trainer.storage import Folder

CHUNK: Final = 64 << 20
"""Bytes of a chunk; a smaller blob is sent in one request."""
_CANNOT: Final = {400, 404, 405, 411, 415, 416, 501}
"""Answers of registries that take no chunks."""
OCTETS: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Blob:
    """Content that is uploaded under its digest."""

    digest: str
    size: int
    path: Path | None = None
    """Where it is; else it is `content`."""
    content: bytes = b""

    def open(self) -> IO[bytes]:
        """Open it for reading."""
        return io.BytesIO(self.content) if self.path is None else self.path.open("rb")


@dataclass(frozen=True, slots=True)
class Uploader:
    """Brings blobs to one repository."""

    client: Client
    reference: Reference
    notes: Folder
    """Where it is written down how far an upload is."""
    tell: Callable[[int, int], None]
    chunk: int
    """Bytes of a chunk."""

    @property
    def base(self) -> str:
        """Return the address of the repository."""
        return f"{self.client.prefix}://{self.reference.host}/v2/{self.reference.repository}"

    def upload(self, blob: Blob) -> None:
        """Upload a blob unless the registry has it; goes on where one before was broken off."""
        if self.has(blob):
            return
        with blob.open() as file:
            if blob.size > self.chunk and self._in_chunks(blob, file):
                return
            file.seek(0)
            place = self._begin()[0]
            told = Slice(file, 0, blob.size, lambda done: self.tell(done, blob.size))
            headers = {"Content-Type": OCTETS, "Content-Length": str(blob.size)}
            self._finish(place, blob, told, headers)

    def has(self, blob: Blob) -> bool:
        """Tell whether the registry has a blob, all of it."""
        answer = self.client.do_request(f"{self.base}/blobs/{blob.digest}", "HEAD")
        size = answer.headers.get("Content-Length")
        return bool(answer.ok) and (not size or int(size) in {0, blob.size})

    def _begin(self) -> tuple[str, int]:
        """Begin an upload; returns its address and the least chunk that the registry takes."""
        url = f"{self.base}/blobs/uploads/"
        begun = self.client.do_request(url, "POST", headers={"Content-Length": "0"})
        registry.check(begun)
        return self._place(begun), int(begun.headers.get("OCI-Chunk-Min-Length") or 0)

    def _place(self, answer: Any) -> str:
        place: str = self.client._get_location(  # noqa: SLF001 - oras's own helper
            answer, self.reference.container
        )
        return place

    def _finish(self, place: str, blob: Blob, data: Any, headers: dict[str, str]) -> None:
        mark = "&" if "?" in place else "?"
        url = f"{place}{mark}digest={blob.digest}"
        registry.check(self.client.do_request(url, "PUT", data=data, headers=headers))

    def _in_chunks(self, blob: Blob, file: IO[bytes]) -> bool:
        """Upload in chunks; False where the registry takes none."""
        place, done, size = self._start(blob)
        note = _note(blob)
        while done < blob.size:
            self.notes.write(note, json.dumps({"location": place}).encode())
            answer = self._chunk(place, blob, file, (done, min(size, blob.size - done)))
            if answer.status_code in _CANNOT and not done:
                self.notes.remove(note)
                return False
            registry.check(answer)
            place, done = self._place(answer), _received(answer) or min(done + size, blob.size)
            self.tell(done, blob.size)
        self._finish(place, blob, b"", {"Content-Type": OCTETS, "Content-Length": "0"})
        self.notes.remove(note)
        return True

    def _chunk(self, place: str, blob: Blob, file: IO[bytes], part: tuple[int, int]) -> Any:
        start, size = part
        data = Slice(file, start, size, lambda done: self.tell(start + done, blob.size))
        headers = {
            "Content-Type": OCTETS,
            "Content-Length": str(size),
            "Content-Range": f"{start}-{start + size - 1}",
        }
        return self.client.do_request(place, "PATCH", data=data, headers=headers)

    def _start(self, blob: Blob) -> tuple[str, int, int]:
        """Return an upload's address, the bytes that it has, and the bytes of a chunk."""
        if resumed := self._resumed(blob):
            return *resumed, self.chunk
        place, least = self._begin()
        return place, 0, max(self.chunk, least)

    def _resumed(self, blob: Blob) -> tuple[str, int] | None:
        """Return address and length of an upload that was broken off, as the registry tells it."""
        noted = self.notes.read(_note(blob))
        if noted is None:
            return None
        try:
            answer = self.client.do_request(json.loads(noted)["location"], "GET")
        except (RegistryError, ValueError, KeyError):
            return None
        if answer.status_code != 204 or not (received := _received(answer)):
            return None
        return self._place(answer), received


def _note(blob: Blob) -> str:
    return f"upload-{blob.digest.removeprefix('sha256:')[:12]}.json"


def _received(answer: Any) -> int:
    """Return the bytes that a registry says it has; `Range: 0-0` is none as well as one."""
    last = str(answer.headers.get("Range") or "").rpartition("-")[2]
    return int(last) + 1 if last.isdigit() and int(last) else 0


class Slice:
    """A part of a file that is read by a request and tells how far it is."""

    def __init__(self, file: IO[bytes], start: int, size: int, tell: Callable[[int], None]) -> None:
        self._file, self._start, self._size, self._tell = file, start, size, tell
        self._done = 0
        file.seek(start)

    def __len__(self) -> int:
        return self._size

    def read(self, count: int = -1) -> bytes:
        """Read and tell."""
        left = self._size - self._done
        content = self._file.read(left if count < 0 else min(count, left))
        self._done += len(content)
        self._tell(self._done)
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go back, for a request that is sent again."""
        assert whence == io.SEEK_SET
        self._file.seek(self._start + offset)
        self._done = offset
        return offset
