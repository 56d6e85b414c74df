"""The pods of a training by several: what each starts, and what it tells."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from distill_api.names import Exit, Reason, Stage
from distill_api.wire import Failure, Report, Task
from distill_trainer.distributed import launch
from distill_trainer.distributed.launch import Place
from stage_jobs import Job

DISTRIBUTED = {"pods": 2, "processesPerPod": 1, "strategy": "FSDP2"}


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def a_task(job: Job, stage: Stage = Stage.TRAIN) -> Task:
    return Task.model_validate(
        {
            "stage": stage,
            "job": {"namespace": "team", "name": "tiny", "uid": "u"},
            "spec": job.spec,
            "workspace": f"file://{job.root}/workspace",
        }
    )


def a_pod(job: Job, index: int, port: int) -> "subprocess.Popen[str]":
    """Start what a pod starts, with folders of its own beside the shared workspace."""
    own = job.root / f"pod-{index}"
    own.mkdir()
    (own / "task.json").write_text(a_task(job).model_dump_json(by_alias=True, exclude_none=True))
    places = [f"--{place}={own}/{place}" for place in ("scratch", "volumes", "secrets")]
    given = [f"--task={own}/task.json", f"--report={own}/report.json", *places]
    told = {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port)}
    return subprocess.Popen(
        [sys.executable, "-m", "distill_trainer", *given],
        env=os.environ | told | {"JOB_COMPLETION_INDEX": str(index)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_pods_train_one_student_and_the_first_one_reports(teacher_folder: Path, tmp_path: Path):
    training = {"maxSteps": 4, "batchSize": 16, "checkpointSteps": 2, "distributed": DISTRIBUTED}
    job = Job(tmp_path, teacher_folder, training=training)
    job.run(Stage.LABEL)
    job.run(Stage.PREPARE)
    port = free_port()
    pods = [a_pod(job, index, port) for index in (0, 1)]
    logs = [pod.communicate(timeout=1200)[0] for pod in pods]
    assert [pod.returncode for pod in pods] == [0, 0], logs[0][-3000:] + logs[1][-3000:]
    report = Report.model_validate_json((job.root / "pod-0/report.json").read_bytes())
    assert report.outcome == "Done"
    assert report.facts["steps"] == "4"
    share = Report.model_validate_json((job.root / "pod-1/report.json").read_bytes())
    assert (share.outcome, share.share, share.usage.seconds) == ("Done", True, None)
    assert float(share.usage.cpu_seconds or 0) > 0
    assert all(np.isfinite(weight).all() for weight in job.weights().values())


def test_torchrun_is_told_where_the_first_pod_is(tmp_path: Path):
    job = Job(tmp_path, tmp_path, training={"maxSteps": 4, "distributed": DISTRIBUTED})
    place = Place(1, "train-0.gang", "29500")
    line = launch.command(a_task(job), place, ["--task=/t"], tmp_path)
    assert line[1:3] == ["-m", "torch.distributed.run"]
    assert {"--nnodes=2", "--node-rank=1", "--nproc-per-node=1"} <= set(line)
    assert {"--master-addr=train-0.gang", "--master-port=29500", "--max-restarts=0"} <= set(line)
    assert line.index("--task=/t") > line.index("distill_trainer")


def test_only_the_train_stage_of_several_starts_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    several = Job(tmp_path, tmp_path, training={"maxSteps": 4, "distributed": DISTRIBUTED})
    assert launch.wanted(a_task(several))
    assert not launch.wanted(a_task(several, Stage.PREPARE))
    assert not launch.wanted(a_task(Job(tmp_path, tmp_path)))
    monkeypatch.setenv("RANK", "0")
    assert not launch.wanted(a_task(several))


def failed(outcome: str, message: str, reason: Reason = Reason.CRASHED) -> Report:
    failure = Failure(reason=reason, message=message)
    return Report.model_validate({"stage": "Train", "outcome": outcome, "failure": failure})


DONE = Report(stage=Stage.TRAIN, outcome="Done", summary="9 of 9 steps")
LOST = failed("TryAgain", "Another process of the training was lost", Reason.PEER_LOST)
OUTCOMES = [
    ("all are done", [DONE, DONE], 0, Exit.DONE, None),
    ("what must change comes first", [LOST, failed("GiveUp", "too wide")], 1, Exit.GIVE_UP, "wide"),
    ("the cause before its echo", [LOST, failed("TryAgain", "no disk")], 1, Exit.TRY_AGAIN, "disk"),
    ("only an echo here, which counts as no try", [LOST], 1, Exit.PEER_LOST, "was lost"),
    ("killed without a word", [], 1, Exit.TRY_AGAIN, "left no report"),
    ("done is not believed of one that failed", [DONE], 1, Exit.TRY_AGAIN, "left no report"),
]


@pytest.mark.parametrize("case", OUTCOMES, ids=[case[0] for case in OUTCOMES])
def test_the_pod_tells_what_helps_most(
    case: tuple[str, list[Report], int, Exit, str | None],
):
    _, reports, code, status, words = case
    found = launch.outcome(Stage.TRAIN, reports, code)
    assert launch.status(found) is status
    assert (found.failure is None) is (words is None)
    if found.failure is not None and words is not None:
        assert words in found.failure.message
