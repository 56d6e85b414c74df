"""The launcher as a process of its own, with a program in the place of vLLM that fails as told."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
from distill_api.outcome import Vllm
from distill_trainer.benchmarking import server, sidecar, vllm_launcher
from distill_trainer.benchmarking.serving import NotServed
from distill_trainer.benchmarking.sidecar import Plan
from distill_trainer.errors import TryAgain
from operators import eventually, free_port

VLLM = '''#!{python} -S
"""Listens as vLLM does, with a child that keeps memory, and does what its model's name says."""
import http.server, os, signal, subprocess, sys, time
given = dict(zip(sys.argv[2::2], sys.argv[3::2]))
print("(APIServer pid=7) INFO 11-26 15:00:00 [utils.py:233] arguments", sys.argv[1:], flush=True)
if given["--model"].endswith("refused"):
    print("(EngineCore pid=9) ERROR 11-26 15:00:01 [core.py:91] ValueError: No kernel for 7")
    sys.exit("(APIServer pid=7) RuntimeError: Engine core initialization failed. See root cause")
if given["--model"].endswith("killed"):
    os.kill(os.getpid(), signal.SIGKILL)
if given["--model"].endswith("stubborn"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if given["--model"].endswith("slow"):
    time.sleep(60)
child = "import time; held = bytearray(b'x' * 50_000_000); print('', flush=True); time.sleep(600)"
subprocess.Popen([sys.executable, "-S", "-c", child], stdout=subprocess.PIPE).stdout.readline()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def do_POST(self):
        os._exit(3)
http.server.HTTPServer(("127.0.0.1", int(given["--port"])), Handler).serve_forever()
'''
ASKED = Vllm.model_validate({"image": "v", "args": ["--max-model-len", "64"], "startSeconds": 60})


class Pod:
    """The other container: where it listens, and its process."""

    def __init__(self, folder: Path) -> None:
        self.launcher = f"http://127.0.0.1:{free_port()}"
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = folder / "log"
        program = folder / "vllm"
        program.write_text(VLLM.format(python=sys.executable))
        program.chmod(0o755)
        self._path = f"{folder}:{os.environ['PATH']}"
        self.process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the launcher by a Python that has nothing of ours, as a foreign image's."""
        port = self.launcher.rpartition(":")[2]
        command = [sys.executable, "-S", "-E", vllm_launcher.__file__, "--port", port]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | {"PATH": self._path}
            )

    def running(self, model: str, asked: Vllm = ASKED) -> AbstractContextManager[sidecar.Sidecar]:
        return sidecar.running(
            Plan(Path(model), asked), lambda: None, launcher=self.launcher, url=self.url
        )

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", trust_env=False).is_success
        except httpx.HTTPError:
            return False


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    made = Pod(tmp_path_factory.mktemp("image"))
    yield made
    made.process.terminate()
    assert made.process.wait(30) == 0


def test_a_model_is_served_until_the_block_ends_and_tells_what_it_took(pod: Pod):
    with pod.running("/models/good") as serving:
        assert serving.url == pod.url
        assert pod.answers()
        assert 50_000_000 < serving.peak_memory() < 500_000_000, "of its child too"
        assert serving.cpu_seconds() > 0
        first = pod.log.read_text()
    assert not pod.answers()
    given = ["--model", "/models/good", "--served-model-name", server.NAME, "--host", "127.0.0.1"]
    given += ["--port", pod.url.rpartition(":")[2], "--max-model-len", "64"]
    assert f"arguments {['serve', *given]}" in first


@pytest.mark.parametrize("model", ["/models/good", "/models/stubborn"])
def test_no_process_of_a_model_is_left_beside_the_next_one(pod: Pod, model: str):
    with pod.running(model):
        mine = children(pod.process.pid)
        assert len(mine) == 2
    assert not [one for one in mine if alive(one)]


def children(process: int) -> list[int]:
    """Return the processes below one."""
    entries = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    found = [one for one in entries if vllm_launcher.fields(one)[1:2] == [str(process)]]
    return found + [below for one in found for below in children(one)]


def alive(process: int) -> bool:
    return vllm_launcher.fields(process)[:1] not in ([], ["Z"])


def test_what_is_not_served_says_why_in_vllms_own_words(pod: Pod):
    with (
        pytest.raises(NotServed, match=r"vLLM ended with status 1: ValueError: No kernel for 7"),
        pod.running("/models/refused"),
    ):
        raise AssertionError("it is not there")


def test_one_that_was_killed_says_by_what(pod: Pod):
    with (
        pytest.raises(NotServed, match=r"vLLM ended with signal 9: .*arguments"),
        pod.running("/models/killed"),
    ):
        raise AssertionError("it is not there")


def test_one_that_takes_too_long_is_given_up(pod: Pod):
    hasty = ASKED.model_copy(update={"start_seconds": 2})
    with (
        pytest.raises(NotServed, match=r"vLLM was not ready within 2 s"),
        pod.running("/models/slow", hasty),
    ):
        raise AssertionError("it is not there")


def test_one_that_ends_under_the_load_has_not_borne_it(pod: Pod):
    with pod.running("/models/good") as serving:
        with pytest.raises(httpx.HTTPError):
            httpx.post(f"{pod.url}/v1/chat/completions", trust_env=False)
        with pytest.raises(NotServed, match="ended under the load with status 3"):
            eventually(lambda: serving.peak_memory() < 0, "its end", within=20)


def test_a_container_that_was_started_anew_points_to_its_memory(tmp_path: Path):
    pod, orphans = Pod(tmp_path), []
    try:
        with pod.running("/models/good") as serving:
            # In a container they would end with it.
            orphans = children(pod.process.pid)
            pod.process.kill()
            pod.process.wait(30)
            pod.process = pod.start()
            with pytest.raises(NotServed, match=r"started anew.*resources\.limits\.memory"):
                serving.peak_memory()
    finally:
        pod.process.terminate()
        pod.process.wait(30)
        vllm_launcher.kill([one for one in orphans if alive(one)])


def test_an_image_without_vllm_is_no_server(tmp_path: Path):
    pod = Pod(tmp_path)
    (tmp_path / "vllm").unlink()
    try:
        with pytest.raises(NotServed, match="the image has no vLLM"), pod.running("/models/good"):
            raise AssertionError("it is not there")
    finally:
        pod.process.terminate()
        pod.process.wait(30)


def test_a_launcher_that_is_not_there_may_come_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sidecar, "LAUNCHER_SECONDS", 0.5)
    nobody = f"http://127.0.0.1:{free_port()}"
    with (
        pytest.raises(TryAgain, match=r"`vllm` of this pod does not answer .*kubectl logs"),
        sidecar.running(Plan(Path("/m"), ASKED), lambda: None, launcher=nobody, url=nobody),
    ):
        raise AssertionError("it is not there")


def test_a_pod_that_has_to_go_does_not_wait_for_vllm(pod: Pod):
    def stop() -> None:
        raise InterruptedError

    begun = time.monotonic()
    with (
        pytest.raises(InterruptedError),
        sidecar.running(
            Plan(Path("/models/slow"), ASKED), stop, launcher=pod.launcher, url=pod.url
        ),
    ):
        raise AssertionError("it was stopped")
    assert time.monotonic() - begun < 40
    assert httpx.get(pod.launcher, trust_env=False).status_code == 404


def test_the_launcher_has_nothing_that_a_foreign_image_lacks():
    """Its Python may be older than ours, and has none of our packages."""
    code = (
        "import sys; before = set(sys.modules); import vllm_launcher;"
        "print([m for m in sys.modules if m.startswith(('distill', 'pydantic'))])"
    )
    folder = str(Path(vllm_launcher.__file__).parent)
    told = subprocess.run(
        [sys.executable, "-S", "-E", "-c", f"import sys; sys.path.insert(0, {folder!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(told.stdout.replace("'", '"')) == []
