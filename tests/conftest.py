"""Flags that choose what runs, and what runs beside what; the summary names what is left out.

With several workers (`-n 3`) one has the cluster for itself; the others run the rest at idle
priority, so that they take only what the cluster's tests, some of which wait, leave of the machine.
"""

import os
from pathlib import Path

import hypothesis
import pytest

# Timings are not asserted: a machine that is busy with other tests is no fault.
hypothesis.settings.register_profile(
    "kubedistill", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("kubedistill")

NEEDS = {
    "cluster": "a real Kubernetes: pass --cluster (make test does)",
    "gpu": "an accelerator: pass --gpu (make test-gpu does)",
}
CLUSTER_TESTS = "tests/cluster/"
FLAG_OF = {"cluster": "--cluster", "gpu": "--gpu"}
FOLDER_MARKS = {"cluster": "cluster", "gpu": "gpu"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cluster", action="store_true", help="also run tests on a real Kubernetes")
    parser.addoption("--gpu", action="store_true", help="also run tests that need an accelerator")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Spread tests as said above, whatever `--dist` says.

    pytest-xdist has groups for that (`loadgroup`), but with pytest 9.2 they are without effect:
    it writes them into a name that pytest no longer reads.
    """
    from xdist.scheduler import LoadFileScheduling

    class OneClusterWorker(LoadFileScheduling):
        """Give one worker all tests of the cluster, and any other file to one worker as a whole."""

        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "cluster" if file.startswith(CLUSTER_TESTS) else file

    return OneClusterWorker(config, log)


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


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give way to the cluster where another worker has it."""
    if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "SCHED_IDLE"):
        policy = os.SCHED_OTHER if item.get_closest_marker("cluster") else os.SCHED_IDLE
        os.sched_setscheduler(0, policy, os.sched_param(0))
