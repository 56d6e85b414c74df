"""The set-up script says what it does and does nothing twice."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

on_debian = pytest.mark.skipif(
    shutil.which("apt-get") is None or os.geteuid() != 0, reason="needs a Debian and root"
)


def setup(root: Path, *steps: str) -> subprocess.CompletedProcess[str]:
    command = [str(root / "scripts/setup.sh"), *steps]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@on_debian
def test_an_unknown_step_is_refused_with_the_known_ones(root: Path) -> None:
    ended = setup(root, "gpu")
    assert ended.returncode == 1
    assert ended.stderr == (
        "setup: there is no step gpu; the steps are packages go uv python environment programs\n"
    )


@on_debian
def test_on_a_machine_that_is_set_up_nothing_is_installed(root: Path) -> None:
    ended = setup(root, "packages", "go", "uv", "python")
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert len(lines) == 4
    assert all(line.endswith("ok (already there)") for line in lines), lines


@pytest.mark.skipif(os.geteuid() != 0, reason="gives up root to see it asked for")
def test_without_root_the_script_says_so(root: Path) -> None:
    script = (root / "scripts/setup.sh").read_text()
    ended = subprocess.run(
        ["bash", "-s"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
        user=65534,
        cwd="/",
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("setup: installing packages and raising a cluster need root")
