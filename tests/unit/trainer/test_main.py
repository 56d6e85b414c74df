"""The process as the pod sees it: task in, report out, exit status."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from distill_api.names import Exit, Reason, Stage
from distill_api.wire import Report, Task
from distill_trainer import process as entry
from distill_trainer.process import RUN
from trainer import a_context, a_task, a_trained_student, some_rows, write_jsonl


def arguments(folder: Path, task: Task | dict[str, Any]) -> list[str]:
    """Write the task and name every place below the folder."""
    text = task.model_dump_json(by_alias=True) if isinstance(task, Task) else json.dumps(task)
    (folder / "task.json").write_text(text)
    places = {name: folder / name for name in ("scratch", "volumes", "secrets")}
    for place in places.values():
        place.mkdir(exist_ok=True)
    named = [word for name, place in places.items() for word in (f"--{name}", str(place))]
    return ["--task", str(folder / "task.json"), "--report", str(folder / "report.json"), *named]


def report_of(folder: Path) -> Report:
    return Report.model_validate_json((folder / "report.json").read_bytes())


def run(folder: Path, task: Task | dict[str, Any]) -> tuple[int, Report, str]:
    done = subprocess.run(
        [sys.executable, "-m", "distill_trainer", *arguments(folder, task)],
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    return done.returncode, report_of(folder), done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: process namespaces are made by it")
def test_process_1_hears_sigterm_while_libraries_are_still_being_loaded(tmp_path: Path):
    data = write_jsonl(tmp_path / "data.jsonl", some_rows(200))
    task = a_task(tmp_path, data={"source": {"uri": f"file://{data}"}})
    # -X importtime tells when the handler is in place and the rest is not.
    command = [sys.executable, "-X", "importtime", "-m", "distill_trainer"]
    namespace = ["unshare", "--pid", "--fork", "--kill-child"]
    whole = [*namespace, *command, *arguments(tmp_path, task)]
    with subprocess.Popen(whole, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as pod:
        assert pod.stderr is not None
        for mark in ("| distill_trainer.stopping", "pydantic"):
            assert any(mark in line for line in pod.stderr)
        children = Path(f"/proc/{pod.pid}/task/{pod.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        pod.communicate(timeout=1500)
    failure = report_of(tmp_path).failure
    assert pod.returncode == Exit.TRY_AGAIN
    assert failure is not None
    assert failure.reason is Reason.EVICTED


def test_every_stage_has_its_function():
    assert set(RUN) == set(Stage)


def test_missing_data_ends_the_job_with_a_sentence(tmp_path: Path):
    code, report, log = run(tmp_path, a_task(tmp_path))
    assert code == Exit.GIVE_UP == 78
    assert report.outcome == "GiveUp"
    assert report.failure is not None
    assert report.failure.reason is Reason.DATA_UNREACHABLE
    assert "file:///nowhere.jsonl was not found" in report.failure.message
    assert report.failure.message in log
    assert "Traceback" not in log


def test_bad_input_is_told_without_loading_torch(tmp_path: Path):
    data = write_jsonl(tmp_path / "data.jsonl", some_rows(3))
    task = a_task(tmp_path, data={"source": {"uri": f"file://{data}"}})
    program = (
        "import sys; from distill_trainer.process import main; main(sys.argv[1:]);"
        " sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments(tmp_path, task)], check=False, timeout=1500
    )
    assert done.returncode == 0
    assert report_of(tmp_path).failure is not None


def test_a_task_of_another_version_is_refused(tmp_path: Path):
    task = a_task(tmp_path, Stage.TRAIN).model_dump(mode="json", by_alias=True)
    code, report, _ = run(tmp_path, {**task, "version": "kubedistill.io/wire.v9"})
    assert (code, report.stage) == (Exit.GIVE_UP, Stage.TRAIN)
    assert report.failure is not None
    assert "must have the same version" in report.failure.message


def test_no_task_at_all_is_reported_too(tmp_path: Path):
    report = tmp_path / "report.json"
    words = ["--task", str(tmp_path / "absent"), "--report", str(report)]
    assert entry.main(words) is Exit.GIVE_UP
    assert report_of(tmp_path).failure is not None


def test_a_done_stage_reports_usage(tmp_path: Path):
    (tmp_path / "volumes" / "models").mkdir(parents=True)
    task = a_task(tmp_path, Stage.PUBLISH, cache=False)
    a_trained_student(a_context(task, tmp_path))
    assert entry.main(arguments(tmp_path, task)) is Exit.DONE
    report = report_of(tmp_path)
    assert report.outcome == "Done"
    assert report.artifact is not None
    assert float(report.usage.cpu_seconds or 0) > 0


def test_a_defect_is_tried_again_with_class_and_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def broken(_: object) -> Report:
        raise LookupError("no such thing")

    monkeypatch.setattr(entry, "RUN", {**RUN, Stage.LABEL: broken})
    assert entry.main(arguments(tmp_path, a_task(tmp_path))) is Exit.TRY_AGAIN
    report = report_of(tmp_path)
    assert report.failure is not None
    assert report.failure.reason is Reason.CRASHED
    assert report.failure.message.startswith("LookupError: no such thing (in broken, test_main.py")
    assert "Traceback" in capsys.readouterr().out


def test_a_full_volume_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_: object) -> Report:
        # The kernel's own error: this device never has space.
        with Path("/dev/full").open("w") as file:
            file.write("x")
        raise AssertionError("not reached")

    monkeypatch.setattr(entry, "RUN", {**RUN, Stage.LABEL: full})
    assert entry.main(arguments(tmp_path, a_task(tmp_path))) is Exit.TRY_AGAIN
    failure = report_of(tmp_path).failure
    assert failure is not None
    assert failure.reason is Reason.VOLUME_FULL
    assert "spec.workspace.size" in failure.message
