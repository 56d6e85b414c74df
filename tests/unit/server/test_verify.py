"""A model on a volume is what was published, or its pod does not start."""

import logging
from pathlib import Path

import pytest
from distill_api.names import Exit, Stage
from distill_server import verify
from distill_server.identity import Identity
from distill_trainer.stages import publish
from trainer import a_context, a_task, a_trained_student


@pytest.fixture
def published(tmp_path: Path) -> tuple[Path, str]:
    """Publish a student to a volume; return its folder there and its digest."""
    (tmp_path / "volumes" / "models").mkdir(parents=True)
    context = a_context(a_task(tmp_path, Stage.PUBLISH, cache=False), tmp_path)
    a_trained_student(context)
    artifact = publish.run(context).artifact
    assert artifact is not None
    return tmp_path / "volumes" / "models" / "models", artifact.digest


def test_what_a_job_has_published_is_known_by_the_digest_in_its_status(
    published: tuple[Path, str],
):
    folder, digest = published
    assert verify.main(["--folder", str(folder), "--digest", digest]) == Exit.DONE
    assert Identity.of(folder).content == digest, "as the server tells it in its metrics"


FAULTS = [
    ("model.safetensors", b"12345679"),
    ("config.json", None),
    ("modeling_evil.py", b"import os"),
]


@pytest.mark.parametrize(("name", "content"), FAULTS, ids=["changed", "removed", "added"])
def test_any_other_content_is_refused(
    published: tuple[Path, str],
    caplog: pytest.LogCaptureFixture,
    name: str,
    content: bytes | None,
):
    folder, digest = published
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with caplog.at_level(logging.ERROR):
        assert verify.main(["--folder", str(folder), "--digest", digest]) == Exit.GIVE_UP
    assert f"and not {digest}, which was asked for" in caplog.text


def test_a_folder_that_is_gone_is_said_to_be(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    words = ["--folder", str(tmp_path / "gone"), "--digest", "sha256:0"]
    assert verify.main(words) == Exit.GIVE_UP
    assert "there is no folder" in caplog.text
