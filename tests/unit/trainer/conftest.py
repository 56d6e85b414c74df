"""Settings of the trainer's tests."""

import pytest


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute with one thread: tiny models gain nothing, and two wait for each other for long."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
