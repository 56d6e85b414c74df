"""Flags that choose what runs; whatever is left out is named in the summary."""

from pathlib import Path

import pytest

NEEDS = {
    "cluster": "a real Kubernetes: pass --cluster (make test does)",
    "gpu": "an accelerator: pass --gpu",
}
FLAG_OF = {"cluster": "--cluster", "gpu": "--gpu"}
FOLDER_MARKS = {"cluster": "cluster"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cluster", action="store_true", help="also run tests on a real Kubernetes")
    parser.addoption("--gpu", action="store_true", help="also run tests that need an accelerator")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        _mark_by_folder(item)
        for mark, need in NEEDS.items():
            if item.get_closest_marker(mark) and not config.getoption(FLAG_OF[mark]):
                item.add_marker(pytest.mark.skip(reason=f"needs {need}"))


def _mark_by_folder(item: pytest.Item) -> None:
    tests = Path(__file__).parent
    room = item.path.relative_to(tests).parts[0]
    if room in FOLDER_MARKS:
        item.add_marker(FOLDER_MARKS[room])
