"""Students as they are published, and real servers of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import servers
import triton_students
from servers import Start
from triton_students import Serve
from tritons import Triton


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an embedding student's folder."""
    folder = tmp_path_factory.mktemp("student")
    triton_students.student(folder)
    return folder


@pytest.fixture(scope="session")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cross-encoder's folder."""
    folder = tmp_path_factory.mktemp("reranker")
    triton_students.reranker(folder)
    return folder


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Start servers that end with the session."""
    running: list[Triton] = []

    def begin(*repositories: Path, arguments: tuple[str, ...] = ()) -> Triton:
        log = tmp_path_factory.mktemp("triton") / "server.log"
        running.append(Triton(*repositories, log=log, arguments=arguments).__enter__())
        return running[-1]

    yield begin
    for one in running:
        one.stop()


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Start our own servers, that end with the module's tests."""
    with servers.starting() as begin:
        yield begin
