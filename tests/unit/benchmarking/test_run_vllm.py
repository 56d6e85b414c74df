"""A generator's evaluate stage with the launcher on this machine and a short program for vLLM.

The real vLLM is measured in tests/cluster/test_benchmark_vllm.py; here it fails as a test wants.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_causal
from distill_api import wire
from distill_api.names import Reason, Stage
from distill_api.wire import Report
from distill_trainer import fingerprints
from distill_trainer.benchmarking import for_vllm, sidecar
from distill_trainer.errors import BadInput
from distill_trainer.stages import hand_over
from operators import free_port
from stage_jobs import STAGES, Job, generating_job
from trainer import a_context, a_task

PROGRAM = '''#!{python} -S
"""Answers every conversation with three tokens; does not load what is named in UNLOVED."""
import http.server, json, os, sys, time
given = dict(zip(sys.argv[2::2], sys.argv[3::2]))
with open({asked!r}, "a") as log:
    log.write(given["--model"] + "\\n")
if os.path.exists({unloved!r}) and open({unloved!r}).read() in given["--model"]:
    sys.exit("ValueError: Unloved architecture")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200 if body["stream"] and body["messages"] else 400)
        self.end_headers()
        for text in "abc":
            self.say({{"choices": [{{"delta": {{"content": text}}}}]}})
            time.sleep(0.005)
        self.say({{"choices": [], "usage": {{"completion_tokens": 3}}}})
        self.wfile.write(b"data: [DONE]\\n\\n")
    def say(self, event):
        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\\n\\n")
        self.wfile.flush()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(given["--port"])), Handler).serve_forever()
'''
LOAD = {
    "requestsPerSecond": 100,
    "requests": 40,
    "timeoutSeconds": 60,
    "vllm": {
        "image": "v",
        "maxP95TimeToFirstTokenMilliseconds": 59_000,
        "resources": {"limits": {"memory": "4Gi", "gpu": 2}},
    },
}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    made = generating_job(tmp_path_factory.mktemp("generating"))
    made.spec["evaluation"] |= {"throughputBatchSize": 8, "benchmark": LOAD}
    return made


@pytest.fixture(scope="module")
def pod(job: Job) -> Iterator[Path]:
    """Hand the launcher over, and run it as the other container does; yield where vLLM is."""
    folder = hand_over.run(job.context(Stage.EVALUATE))
    assert (folder / "vllm_launcher.py").relative_to(job.root / "scratch") == Path(
        wire.VLLM_PROGRAM
    ).relative_to(wire.SCRATCH_DIR)
    program = job.root / "vllm"
    asked, unloved = str(job.root / "asked"), str(job.root / "unloved")
    program.write_text(PROGRAM.format(python=sys.executable, asked=asked, unloved=unloved))
    program.chmod(0o755)
    launcher, port = free_port(), free_port()
    patched = pytest.MonkeyPatch()
    for name, number in (("LAUNCHER", launcher), ("URL", port)):
        patched.setattr(sidecar, name, f"http://127.0.0.1:{number}")
    with (job.root / "launcher.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-S", "-E", folder / "vllm_launcher.py", "--port", str(launcher)],
            env=os.environ | {"PATH": f"{job.root}:{os.environ['PATH']}"},
            stdout=log,
            stderr=log,
        )
    yield job.root
    patched.undo()
    process.terminate()
    assert process.wait(30) == 0


@pytest.fixture(scope="module")
def evaluated(job: Job, pod: Path) -> Report:
    return [job.run(stage)[0] for stage in STAGES][-1]


def test_both_are_asked_in_turns_and_status_has_their_tokens(
    job: Job, evaluated: Report, pod: Path
):
    assert evaluated.evaluation is not None
    found = evaluated.evaluation.benchmark
    assert found is not None
    assert found.teacher is not None
    for load in (found.student, found.teacher):
        assert (load.requests, load.failures) == (40, 0)
        assert load.tokens is not None
        assert load.tokens.output_tokens == 3 * 40
        assert load.tokens.time_per_output_token is not None
        assert 2 < float(load.tokens.time_per_output_token.p50_milliseconds) < 5000
    assert "served P95 of the time to the first token" in evaluated.evaluation.explanation
    models = (pod / "asked").read_text().split()
    student = str(job.output(Stage.TRAIN) / "student")
    teacher = str(job.root / "scratch/vllm/teacher")
    assert models[:4] == [student, teacher, teacher, student]


def test_the_time_of_the_other_container_is_in_the_stages_usage(evaluated: Report):
    usage = evaluated.usage
    assert usage.cpu_seconds is not None
    assert usage.gpu_seconds is not None
    assert float(usage.gpu_seconds) > 1, "two accelerators, held as long as the stage"


def test_report_and_numbers_are_written(job: Job, evaluated: Report):
    assert evaluated.outcome == "Done"
    folder = job.output(Stage.EVALUATE)
    told = json.loads((folder / "evaluation.json").read_text())["benchmark"]
    for load in told.values():
        assert len(load["firstTokenSeconds"]) == len(load["outputTokenSeconds"]) == 40
    page = (folder / "report.html").read_text()
    assert "vLLM, which will serve the student" in page
    assert "milliseconds between two tokens" in page


@pytest.fixture
def unloved(job: Job, evaluated: Report, pod: Path) -> Iterator[Callable[[str], Job]]:
    """Let vLLM refuse a model, and the stage be done again."""
    assert evaluated.outcome == "Done"
    file, before = pod / "unloved", job.spec

    def refuse(model: str) -> Job:
        file.write_text(model)
        again = {"confidence": 0.9 if model == "student" else 0.8}
        job.spec = before | {"evaluation": before["evaluation"] | again}
        return job

    yield refuse
    file.unlink()
    job.spec = before


def test_a_teacher_that_vllm_cannot_load_is_left_out_with_its_words(
    unloved: Callable[[str], Job],
):
    found = unloved("teacher").run(Stage.EVALUATE)[0].evaluation
    assert found is not None
    assert found.benchmark is not None
    assert found.benchmark.teacher is None
    assert found.benchmark.remark == (
        "The teacher cannot be served: vLLM ended with status 1: ValueError: Unloved architecture"
    )


def test_a_student_that_vllm_cannot_load_fails_the_stage_with_its_words(
    unloved: Callable[[str], Job],
):
    with pytest.raises(BadInput, match="ValueError: Unloved architecture") as error:
        unloved("student").run(Stage.EVALUATE)
    assert error.value.reason is Reason.BAD_MODEL
    assert "nothing is published" in error.value.sentence


# The teacher's folder.


def test_a_teacher_without_a_template_is_served_with_the_one_it_was_asked_by(tmp_path: Path):
    model = {"model": {"uri": "pvc://models/teacher"}}
    task = a_task(tmp_path, Stage.EVALUATE, teacher=model)
    context = a_context(task, tmp_path)
    tokenizer = tiny_causal.tokenizer()
    tokenizer.save_pretrained(tmp_path / "with")
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path / "without")
    assert for_vllm.chat_template(context, tmp_path / "with") == ()
    flag, file = for_vllm.chat_template(context, tmp_path / "without")
    assert flag == "--chat-template"
    assert "Answer: " in Path(file).read_text()
    assert Path(file).is_relative_to(context.scratch)
    assert for_vllm.seen(context, tmp_path / "with") == tmp_path / "with"


# Fingerprints.


def test_a_benchmark_of_an_earlier_release_has_the_fingerprint_that_it_had(tmp_path: Path):
    task = a_task(tmp_path, evaluation={"benchmark": {"requestsPerSecond": 5}})
    assert "vllm" not in fingerprints._evaluation(task.spec.evaluation)["benchmark"]
    assert "benchmark" not in fingerprints._evaluation(a_task(tmp_path).spec.evaluation)
