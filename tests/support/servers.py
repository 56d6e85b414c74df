"""Real servers of distill_server on loopback, in a thread of the test."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from distill_server import serving
from distill_server.draining import DrainingServer
from distill_server.settings import Settings


class Running:
    """A server in a thread, with real sockets."""

    def __init__(self, settings: Settings) -> None:
        self.server: DrainingServer = serving.prepare(settings)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        self._wait(lambda: self.server.started, "started")
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.address = ("127.0.0.1", port)
        self.url = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        """Stop without a drain."""
        self.server.should_exit = True
        self.thread.join(120)
        assert not self.thread.is_alive()

    @staticmethod
    def _wait(done: Callable[[], bool], what: str) -> None:
        ends = time.monotonic() + 300
        while not done():
            assert time.monotonic() < ends, f"the server has not {what} within 300 s"
            time.sleep(0.01)


def settings(folder: Path, **changes: object) -> Settings:
    """Return settings for a server of a test."""
    fixed = {"model": folder, "served_model_name": "tiny", "host": "127.0.0.1", "port": 0}
    return Settings(**{**fixed, "threads": 1, **changes})  # type: ignore[arg-type]


type Start = Callable[..., Running]


@contextmanager
def starting() -> Iterator[Start]:
    """Yield what starts a server of a folder, with settings changed; all end with the block."""
    running: list[Running] = []

    def begin(folder: Path, **changes: object) -> Running:
        running.append(Running(settings(folder, **changes)))
        return running[-1]

    yield begin
    for one in running:
        one.stop()
