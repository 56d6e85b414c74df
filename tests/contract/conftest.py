"""Two real servers of tiny models, and programs beside them that end with their test."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from probers import Process, World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[World]":
    """Serve student and teacher; the libraries of models load only for tests that need them."""
    import probers

    with probers.served(tmp_path_factory.mktemp("arms")) as found:
        yield found


@pytest.fixture
def started(world: "World") -> "Iterator[list[Process]]":
    """Collect a test's programs, to be ended with it."""
    import probers

    with probers.killed_at_the_end() as running:
        yield running
