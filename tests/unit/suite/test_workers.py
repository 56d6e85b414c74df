"""Tests of the suite itself: which worker runs what, as `make test` spreads it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[2] / "conftest.py"
FILES = ("cluster/test_a.py", "cluster/test_b.py", "unit/test_c.py", "unit/test_d.py")
BODY = """
import time
import pytest

@pytest.mark.parametrize("n", range(8))
def test_waits(n):
    time.sleep(0.05)
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Return a suite with our conftest and four files, two of the cluster's."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = cluster: real\naddopts = -p no:anyio")
    tests = tmp_path / "tests"
    for name in FILES:
        (tests / name).parent.mkdir(parents=True, exist_ok=True)
        (tests / name).write_text(BODY)
    (tests / "conftest.py").write_bytes(CONFTEST.read_bytes())
    return tmp_path


def test_one_worker_has_the_cluster_and_every_other_file_is_one_workers(suite: Path) -> None:
    flags = ["--cluster", "-n", "3", "-v"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *flags],
        check=False,
        cwd=suite,
        capture_output=True,
        text=True,
    )
    workers: dict[str, set[str]] = {}
    for worker, file in re.findall(r"\[(gw\d)\].* PASSED tests/(\S+?)::", ran.stdout):
        workers.setdefault(file, set()).add(worker)
    assert set(workers) == set(FILES), ran.stdout + ran.stderr
    assert all(len(own) == 1 for own in workers.values()), workers
    assert workers["cluster/test_a.py"] == workers["cluster/test_b.py"]
    assert "32 passed" in ran.stdout
