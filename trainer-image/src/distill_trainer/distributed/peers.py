"""How the pods of one training know of each other: each is connected to the first, and pulses.

torch notices at once when a process ends, as its connections are closed, but a node that vanishes
only after minutes; and the first pod is still busy with the result when the others have done their
share. So a pod that has done its share stays until the first one says that all is done.
"""

import logging
import select
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Self

PULSE_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 30.0
"""A pod that is not heard of for so long is lost."""
RETRY_SECONDS: Final = 1.0
GREETING_LIMIT: Final = 256
ALIVE: Final = b"."
DONE: Final = b"!"

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Peers:
    """What one pod knows of the others."""

    index: int
    key: str
    """The same for all pods of a training, so that nobody else is taken for one of them."""
    silence: float = SILENCE_SECONDS
    lost: str | None = None
    """The pod that was lost first, once there is one."""
    done: threading.Event = field(default_factory=threading.Event)
    """Set once the first pod said that all is done."""
    met: threading.Event = field(default_factory=threading.Event)
    """Set once the first pod is there; nobody begins with one that is about to end."""
    _known: set[int] = field(default_factory=set)
    _over: threading.Event = field(default_factory=threading.Event)
    _open: list[socket.socket] = field(default_factory=list)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def start(self, address: str, port: int) -> Self:
        """Wait for the others where this is the first pod, else look for the first one."""
        if self.index == 0:
            self.met.set()
            server = _server(port)
            self._open.append(server)
            work, arguments = self._receive, (server,)
        else:
            work, arguments = self._seek, (address, port)  # type: ignore[assignment]
        threading.Thread(target=work, args=arguments, name="peers", daemon=True).start()
        return self

    def finish(self, *, well: bool) -> None:
        """Tell the others that all is done, where it is, and let go of them."""
        self._over.set()
        with self._guard:
            for connection in self._open:
                if well and self.index == 0:
                    _send(connection, DONE)
                # Closing alone does not wake a thread that waits in accept.
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()
            self._open.clear()

    def _receive(self, server: socket.socket) -> None:
        while not self._over.is_set():
            try:
                connection, _ = server.accept()
            except OSError:  # closed: it is over
                return
            threading.Thread(target=self._welcome, args=(connection,), daemon=True).start()

    def _welcome(self, connection: socket.socket) -> None:
        connection.settimeout(PULSE_SECONDS)
        try:
            with connection.makefile("r") as file:
                key, _, index = file.readline(GREETING_LIMIT).rpartition(" ")
        except (OSError, ValueError):
            key, index = "", ""
        if key != self.key or not index.strip().isdecimal():
            connection.close()
            return
        number = int(index)
        if number in self._known and self.lost is None:
            log.warning("pod %d was replaced", number)
            self.lost = f"pod {number}"
        if self.lost is not None:
            connection.close()
            return
        self._known.add(number)
        _send(connection, ALIVE)
        self._listen(connection, f"pod {number}")

    def _seek(self, address: str, port: int) -> None:
        while not self._over.is_set():
            try:
                connection = socket.create_connection((address, port), PULSE_SECONDS)
            except OSError:  # not there yet, or its name is not known yet
                self._over.wait(RETRY_SECONDS)
                continue
            _send(connection, f"{self.key} {self.index}\n".encode())
            if not _hear(connection, self.silence):  # it is on its way out
                connection.close()
                self._over.wait(RETRY_SECONDS)
                continue
            self.met.set()
            self._listen(connection, "pod 0")
            return

    def _listen(self, connection: socket.socket, who: str) -> None:
        with self._guard:
            self._open.append(connection)
        with connection:
            self._follow(connection, who)

    def _follow(self, connection: socket.socket, who: str) -> None:
        """Pulse and listen until the other is done or lost."""
        heard = sent = time.monotonic()
        while not self._over.is_set() and time.monotonic() - heard < self.silence:
            if time.monotonic() - sent >= PULSE_SECONDS:
                _send(connection, ALIVE)
                sent = time.monotonic()
            said = _hear(connection, PULSE_SECONDS)
            if said and DONE in said:
                self.done.set()
                return
            if said == b"":
                break
            heard = heard if said is None else time.monotonic()
        if not self._over.is_set() and self.lost is None:
            log.warning("%s is gone", who)
            self.lost = who


def _server(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _send(connection: socket.socket, said: bytes) -> None:
    try:
        connection.sendall(said)
    except OSError:  # who listens finds out
        return


def _hear(connection: socket.socket, seconds: float) -> bytes | None:
    """Return what was said; None for silence, nothing where the connection is closed."""
    try:
        if not select.select([connection], [], [], seconds)[0]:
            return None
        return connection.recv(64)
    except (OSError, ValueError):
        return b""
