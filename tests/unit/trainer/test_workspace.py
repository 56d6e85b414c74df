"""Outputs are complete or absent, never half."""

import json
import threading
from pathlib import Path

import pytest
from distill_api.names import Reason, Stage
from distill_api.status import Usage
from distill_api.wire import Report
from distill_trainer import artifacts
from distill_trainer.errors import TryAgain
from distill_trainer.storage import Folder, create_atomic, open_folder
from distill_trainer.usage import Meter
from distill_trainer.workspace import Workspace

FINGERPRINT = "sha256:" + "a1" * 32


def a_workspace(folder: Path, job: str = "uid-1", shared: Path | None = None) -> Workspace:
    home = open_folder(f"file://{folder}", folder / "mirror", {})
    cache = open_folder(f"file://{shared}", folder / "mirror", {}) if shared else None
    return Workspace(home, job, Meter(), cache)


def complete(workspace: Workspace, stage: Stage = Stage.TRAIN, **options: object) -> Report:
    draft = workspace.draft(stage, FINGERPRINT)
    (draft.path / "student").mkdir(exist_ok=True)
    (draft.path / "student" / "weights").write_bytes(b"1234")
    report = Report(stage=stage, outcome="Done", fingerprint=FINGERPRINT, summary="four bytes")
    return draft.commit(report, **options)  # type: ignore[arg-type]  # keywords of commit


def test_an_output_is_found_again_with_its_report(tmp_path: Path):
    complete(a_workspace(tmp_path), inputs={"teacher": "t"})
    found = a_workspace(tmp_path).find(Stage.TRAIN, FINGERPRINT)
    assert found is not None
    assert found.reused().reused
    assert found.reused().summary == "four bytes"
    assert found.inputs == {"teacher": "t"}
    assert (found.path / "student" / "weights").read_bytes() == b"1234"


def test_without_its_manifest_an_output_is_not_complete(tmp_path: Path):
    workspace = a_workspace(tmp_path)
    draft = workspace.draft(Stage.TRAIN, FINGERPRINT)
    (draft.path / "weights").write_bytes(b"1234")
    assert workspace.find(Stage.TRAIN, FINGERPRINT) is None


def test_another_fingerprint_is_another_output(tmp_path: Path):
    workspace = a_workspace(tmp_path)
    complete(workspace)
    assert workspace.find(Stage.TRAIN, "sha256:" + "b2" * 32) is None


DAMAGES = {
    "a shorter file": lambda folder: (folder / "student" / "weights").write_bytes(b"12"),
    "other content": lambda folder: (folder / "student" / "weights").write_bytes(b"1235"),
    "a lost file": lambda folder: (folder / "student" / "weights").unlink(),
    "half a manifest": lambda folder: (folder / "manifest.json").write_text('{"stage":'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_output_counts_as_absent_and_can_be_made_again(tmp_path: Path, damage: str):
    workspace = a_workspace(tmp_path)
    complete(workspace)
    DAMAGES[damage](tmp_path / "train-a1a1a1a1a1a1")
    assert workspace.find(Stage.TRAIN, FINGERPRINT) is None
    with pytest.raises(TryAgain, match="Train stage is not in the workspace"):
        workspace.output(Stage.TRAIN)
    complete(workspace)
    assert workspace.output(Stage.TRAIN).fingerprint == FINGERPRINT


def test_what_is_left_out_is_removed_and_not_listed(tmp_path: Path):
    workspace = a_workspace(tmp_path)
    draft = workspace.draft(Stage.TRAIN, FINGERPRINT)
    (draft.path / "checkpoints").mkdir()
    (draft.path / "checkpoints" / "step-1").write_bytes(b"x")
    complete(workspace, leave_out=("checkpoints",))
    assert not (tmp_path / "train-a1a1a1a1a1a1" / "checkpoints").exists()
    listed = workspace.output(Stage.TRAIN).manifest.files
    assert [entry.path for entry in listed] == ["student/weights"]


def test_a_request_is_answered_only_when_it_is_the_same(tmp_path: Path):
    workspace = a_workspace(tmp_path)
    complete(workspace, Stage.LABEL, request="r1")
    assert workspace.answered(Stage.LABEL, "r1") is not None
    assert workspace.answered(Stage.LABEL, "r2") is None


def test_labels_lie_in_the_shared_folder_and_cost_other_jobs_nothing(tmp_path: Path):
    shared = tmp_path / "labels"
    complete(a_workspace(tmp_path / "one", "uid-1", shared), Stage.LABEL)
    own = a_workspace(tmp_path / "one", "uid-1", shared).find(Stage.LABEL, FINGERPRINT)
    other = a_workspace(tmp_path / "two", "uid-2", shared).find(Stage.LABEL, FINGERPRINT)
    assert own is not None
    assert other is not None
    assert float(own.reused().usage.cpu_seconds or 0) > 0
    assert other.reused().usage == Usage()


def test_the_manifest_says_who_made_it(tmp_path: Path):
    complete(a_workspace(tmp_path))
    manifest = json.loads((tmp_path / "train-a1a1a1a1a1a1" / artifacts.MANIFEST).read_text())
    assert (manifest["job"], manifest["stage"]) == ("uid-1", "Train")


def test_a_missing_stage_is_told_with_what_to_do(tmp_path: Path):
    with pytest.raises(TryAgain) as caught:
        a_workspace(tmp_path).output(Stage.PREPARE)
    assert caught.value.reason is Reason.CRASHED
    assert "create it again" in caught.value.sentence


def test_of_many_writers_exactly_one_creates_a_file(tmp_path: Path):
    path, start = tmp_path / "shard", threading.Barrier(8)
    won: list[int] = []

    def write(number: int) -> None:
        start.wait()
        if create_atomic(path, bytes([number]) * 100_000):
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert path.read_bytes() == bytes([won[0]]) * 100_000
    assert [entry.name for entry in tmp_path.iterdir()] == ["shard"]


def test_the_marker_of_a_folder_is_sent_last(tmp_path: Path):
    class Recorder:
        sent: list[str] = []  # noqa: RUF012 - one test, one list

        def put_file(self, _source: str, target: str) -> None:
            self.sent.append(target)

    folder = Folder("s3://b/p", tmp_path, Recorder(), "b/p")
    (tmp_path / "step-1").mkdir()
    for name in ("COMPLETE", "A", "weights"):
        (tmp_path / "step-1" / name).write_text(name)
    folder.push("step-1")
    assert Recorder.sent == ["b/p/step-1/A", "b/p/step-1/weights", "b/p/step-1/COMPLETE"]
