"""What buildah is asked to do."""

import shutil
from pathlib import Path

import pytest
from devcluster.images.buildah import Build, Buildah, BuildFailed, build_arguments


def test_a_build_names_its_stage_its_values_and_its_context() -> None:
    values = {"BASE": "debian:13", "ACCELERATOR": "cpu"}
    plan = Build("localhost/x:1", Path("ctx/Dockerfile"), Path("ctx"), values, "dependencies")
    words = [word for word in build_arguments(plan) if not word.startswith("--volume=")]
    assert words == [
        "--quiet",
        "--build-arg=ACCELERATOR=cpu",
        "--build-arg=BASE=debian:13",
        "--target=dependencies",
        "--file=ctx/Dockerfile",
        "--tag=localhost/x:1",
        "ctx",
    ]


@pytest.mark.skipif(shutil.which("buildah") is None, reason="runs buildah")
def test_a_failed_command_raises_with_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(
        BuildFailed, match=r"buildah no-such-verb ended with \d+:\n.*unknown command"
    ):
        Buildah(tmp_path).run("no-such-verb")
