"""Who is making which piece of a work that several pods or jobs do side by side."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from distill_trainer.storage import Folder

CLAIM_SECONDS: Final = 120.0
"""A claim that was not renewed for so long is void: its pod is gone."""
RENEW_SECONDS: Final = 20.0


class Piece(Protocol):
    """A part of the work with a file of its own."""

    @property
    def number(self) -> int:
        """Its place in the plan."""
        ...

    @property
    def name(self) -> str:
        """Its file's name inside the folder."""
        ...


@dataclass(frozen=True, slots=True)
class Claims:
    """Says who is making a piece, so that those who share a folder divide the work.

    Only a hint: without it two make the same piece, and the first one to finish is kept. Object
    stores have none; there the pods of one job divide the pieces by number.
    """

    folder: Folder
    owner: str
    pods: int = 1
    pod: int = 0

    @classmethod
    def of_pod(cls, folder: Folder, job: str, pods: int, pod: int) -> "Claims":
        """Return the claims of one of a job's pods; its replacement takes them over."""
        return cls(folder, job if pods == 1 else f"{job}/{pod}", pods, pod)

    def take(self, piece: Piece, now: float) -> bool:
        """Claim a piece; False while another one's claim is alive."""
        if not self.folder.local:
            return piece.number % self.pods == self.pod
        path = self._path(piece)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps({"owner": self.owner}).encode()
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o664)
        except FileExistsError:
            if not self._void(path, now):
                return False
            path.write_bytes(content)
            return True
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        return True

    @contextmanager
    def held(self, piece: Piece) -> Iterator[None]:
        """Keep a claim alive while its piece is made, and give it up at the end."""
        over = threading.Event()

        def renew() -> None:
            while not over.wait(RENEW_SECONDS):
                self.renew(piece)

        thread = threading.Thread(target=renew, name="claim", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.release(piece)

    def renew(self, piece: Piece) -> None:
        """Keep a claim alive."""
        if self.folder.local:
            self._path(piece).touch()

    def release(self, piece: Piece) -> None:
        """Give a claim up."""
        if self.folder.local:
            self._path(piece).unlink(missing_ok=True)

    def _path(self, piece: Piece) -> Path:
        place = self.folder.path / piece.name
        return place.with_name(f".{piece.number:06d}.claim")

    def _void(self, path: Path, now: float) -> bool:
        try:
            if now - path.stat().st_mtime > CLAIM_SECONDS:
                return True
            return bool(json.loads(path.read_bytes() or b"{}").get("owner") == self.owner)
        except FileNotFoundError:
            return True
        except ValueError:
            return False


def open_ones[P: Piece](
    pieces: list[P],
    claims: Claims,
    whole: Callable[[P], bool],
    found: Callable[[P], None] = lambda _: None,
    *,
    pause: float = 1.0,
) -> Iterator[P | None]:
    """Yield each piece that is to be made here, until all are there, whoever made them.

    found: told of each piece that is there without having been made here.
    Yields None before each pause, while the rest is being made by others.
    """
    missing = list(pieces)
    while missing:
        waiting: list[P] = []
        for piece in missing:
            waiting = [other for other in waiting if not _there(other, whole, found)]
            if _there(piece, whole, found):
                continue
            if not claims.take(piece, time.time()):
                waiting.append(piece)
            elif _there(piece, whole, found):
                # Another one made it and let go of it between the look and the claim.
                claims.release(piece)
            else:
                yield piece
        missing = waiting
        if missing:
            yield None
            time.sleep(pause)
            claims.folder.pull()


def _there[P: Piece](piece: P, whole: Callable[[P], bool], found: Callable[[P], None]) -> bool:
    if not whole(piece):
        return False
    found(piece)
    return True
