"""Student and teacher as real processes of the server, on loopback, under a short load."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import tiny_models
from distill_api.names import Reason, Stage
from distill_api.wire import Report
from distill_trainer.benchmarking import asking, run, server
from distill_trainer.benchmarking.server import Plan, Server
from distill_trainer.benchmarking.serving import NotServed
from distill_trainer.errors import BadInput
from distill_trainer.measures.contest import Pair
from distill_trainer.report.material import Folders
from stage_jobs import STAGES, Job

LOAD = {"requestsPerSecond": 50, "requests": 40, "timeoutSeconds": 60, "runtime": "Torch"}


@pytest.fixture(scope="module")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    tiny_models.teacher().save(str(folder))
    return folder


@pytest.fixture(scope="module")
def job(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    made = Job(tmp_path_factory.mktemp("job"), teacher_folder)
    made.spec["evaluation"] |= {"gates": [], "benchmark": {**LOAD, "maxP95Milliseconds": 59_000}}
    return made


@pytest.fixture(scope="module")
def evaluated(job: Job) -> Report:
    return [job.run(stage)[0] for stage in STAGES][-1]


def test_both_bear_the_same_load_and_the_gates_have_their_numbers(evaluated: Report):
    found = evaluated.evaluation
    assert found is not None
    assert found.benchmark is not None
    student, teacher = found.benchmark.student, found.benchmark.teacher
    assert teacher is not None
    for load in (student, teacher):
        assert (load.requests, load.failures) == (40, 0)
        percentiles = (load.p50_milliseconds, load.p95_milliseconds, load.p99_milliseconds)
        assert 0 < float(percentiles[0]) <= float(percentiles[1]) <= float(percentiles[2])
        assert 0 < float(load.requests_per_second) < 500
        assert 50 * 2**20 < load.peak_memory_bytes < 4 * 2**30
    assert found.verdict == "Passed"
    assert "served P95 at 50 requests a second" in found.explanation
    assert "0 of 40 requests failed" in found.explanation


def test_the_report_and_the_numbers_behind_it_are_written(job: Job, evaluated: Report):
    assert evaluated.outcome == "Done"
    folder = job.output(Stage.EVALUATE)
    told = json.loads((folder / "evaluation.json").read_text())["benchmark"]
    assert {name: len(load["seconds"]) for name, load in told.items()} == {
        "student": 40,
        "teacher": 40,
    }
    page = (folder / "report.html").read_text()
    assert "Served under load" in page
    assert "milliseconds from a request" in page


def test_a_student_that_cannot_be_served_fails_the_stage(job: Job, evaluated: Report):
    """The gate of all gates: what does not load is not published."""
    assert evaluated.outcome == "Done"
    folder = job.output(Stage.TRAIN) / "student"
    modules = folder / "modules.json"
    kept = modules.read_text()
    context = job.context(Stage.EVALUATE)
    modules.write_text("no json")
    try:
        with pytest.raises(BadInput, match="cannot be served, so nothing is published") as error:
            run.run(context, Folders(folder, folder.parent), lambda _: Pair([], []))
    finally:
        modules.write_text(kept)
    assert error.value.reason is Reason.BAD_MODEL
    assert "cannot be loaded" in error.value.sentence


def test_without_a_benchmark_nothing_is_started(job: Job):
    context = job.context(Stage.EVALUATE)
    spec = context.task.spec
    bare = spec.model_copy(
        update={"evaluation": spec.evaluation.model_copy(update={"benchmark": None})}
    )
    context = replace(context, task=context.task.model_copy(update={"spec": bare}))
    assert run.run(context, Folders(Path(), Path()), lambda _: Pair([], [])) is None


# The process.


@pytest.fixture(scope="module")
def running(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    plan = Plan(teacher_folder, "Torch", 1, tmp_path_factory.mktemp("bench"))
    with server.running(plan, lambda: None) as found:
        yield found
    assert found.process.returncode == 0, "it ended by itself when it was told to"


def test_the_process_is_the_server_and_tells_its_memory(running: Server):
    body = {"model": server.NAME, "input": "a1 b2", "input_type": "query"}
    answer = httpx.post(f"{running.url}/v1/embeddings", json=body, timeout=60)
    assert answer.status_code == 200
    assert running.peak_memory() > 50 * 2**20


def test_what_is_not_served_says_why_in_the_servers_own_words(tmp_path: Path):
    plan = Plan(tmp_path / "nothing", "Torch", 1, tmp_path / "bench")
    with (
        pytest.raises(NotServed, match=r"status 78: there is no folder"),
        server.running(plan, lambda: None),
    ):
        raise AssertionError("it is not there")


def test_a_server_that_the_load_has_killed_is_no_measurement(tmp_path: Path):
    log = tmp_path / "server.log"
    log.write_text("INFO uvicorn: started\nERROR distill_server: out of something\n")
    process = subprocess.Popen([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    process.wait(60)
    with pytest.raises(NotServed, match="under the load with signal 9: out of something"):
        Server("http://127.0.0.1:1", process, log).peak_memory()


def test_a_teacher_that_is_not_served_is_left_out_with_its_own_words(
    job: Job, evaluated: Report, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    assert evaluated.outcome == "Done"
    monkeypatch.setattr(run.opening, "weights", lambda _: tmp_path / "nothing")
    monkeypatch.setattr(run, "ROUNDS", 1)
    ask = [asking.embedding(["a1 b2"])]
    folders = Folders(tmp_path, job.output(Stage.TRAIN))
    found = run.run(job.context(Stage.EVALUATE), folders, lambda _: Pair(ask, ask))
    assert found is not None
    assert found.teacher is None
    assert "The teacher cannot be served: it ended with status 78: there is no folder" in (
        found.remark or ""
    )
    assert len(found.student.seconds) == 40


def test_a_pod_that_has_to_go_does_not_wait_for_a_server(teacher_folder: Path, tmp_path: Path):
    def stop() -> None:
        raise InterruptedError

    plan = Plan(teacher_folder, "Torch", 1, tmp_path)
    with pytest.raises(InterruptedError), server.running(plan, stop):
        raise AssertionError("it was stopped")


# The folder.


def test_a_quantised_student_is_served_as_it_is_published(tmp_path: Path):
    trained, smaller = tmp_path / "trained", tmp_path / "smaller"
    files = {
        trained / "student" / "model.safetensors": "weights",
        trained / "student" / "1_Pooling" / "config.json": "{}",
        smaller / "onnx" / "model_quantized.onnx": "graph",
        smaller / "quantization.json": "{}",
    }
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for _ in range(2):
        place = run.published(Folders(tmp_path, trained, smaller), tmp_path / "scratch")
        found = {p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file()}
        assert found == {
            "model.safetensors",
            "1_Pooling/config.json",
            "onnx/model_quantized.onnx",
            "quantization.json",
        }
    bare = run.published(Folders(tmp_path, trained), tmp_path / "scratch")
    assert not (bare / "onnx").exists()
