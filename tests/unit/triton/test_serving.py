"""A real Triton serves a student's repository as our own server serves the student."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import httpx
import numpy as np
import onnxruntime
import pytest
import tritonclient.grpc
import tritonclient.http
from distill_api.rollout_arms import Runtime
from distill_api.rollout_metrics import Errors, Metric
from distill_api.token_ids import TOKEN_IDS_FILE
from distill_operator.effects.rollout import scrape, tokens
from distill_operator.effects.rollout.scrape import Target
from distill_operator.plan.rollout.model import Arm
from distill_server.prober.open_inference import OpenInferenceArm
from sentence_transformers import CrossEncoder, SentenceTransformer
from servers import Start
from triton_students import Serve, published
from tritons import Triton

pytestmark = pytest.mark.slow
NOW: Final = datetime(2026, 11, 26, tzinfo=UTC)
TEXTS = ["a0 b1 c2", "d3", "e4 f5 g6 h7 a8 b9 c10 d11 e0 f1"]


@pytest.fixture(scope="module")
def models(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(student, tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def triton(models: Path, serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Triton:
    """Serve the student under a name of its own, as a rollout does by a mount."""
    served = tmp_path_factory.mktemp("served")
    (served / "search").symlink_to(models / "triton" / "student")
    (served / "search__probe").symlink_to(models / "triton" / "student__probe")
    return serve(models / "triton", served)


def _inputs(kind: Any, **texts: list[str]) -> list[Any]:
    found = []
    for name, own in texts.items():
        found.append(kind.InferInput(name, [len(own)], "BYTES"))
        found[-1].set_data_from_numpy(np.array(own, dtype=object))
    return found


def _cosines(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> Any:
    return np.sum(found * expected, axis=1) / (
        np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    )


@pytest.mark.parametrize("input_type", [None, "query", "document"])
def test_texts_become_the_students_embeddings(
    models: Path, triton: Triton, input_type: str | None
) -> None:
    student = SentenceTransformer(str(models), device="cpu")
    wanted = student.encode(TEXTS, prompt=student.prompts[input_type or "document"])
    client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{triton.http}")
    told = {"input_type": input_type} if input_type else None
    found = client.infer("search", _inputs(tritonclient.http, text=TEXTS), parameters=told)
    client.close()
    # INT8, so about the same.
    assert found.as_numpy("embedding").shape == (3, 32)
    assert min(_cosines(found.as_numpy("embedding"), wanted)) > 0.98


def test_both_protocols_and_both_forms_of_numbers_give_the_same(triton: Triton) -> None:
    http = tritonclient.http.InferenceServerClient(f"127.0.0.1:{triton.http}")
    grpc = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{triton.grpc}")
    binary = http.infer("search", _inputs(tritonclient.http, text=TEXTS)).as_numpy("embedding")
    remote = grpc.infer("search", _inputs(tritonclient.grpc, text=TEXTS)).as_numpy("embedding")
    http.close()
    grpc.close()
    plain = triton.ask(
        "search", inputs=[{"name": "text", "shape": [3], "datatype": "BYTES", "data": TEXTS}]
    ).json()
    (output,) = plain["outputs"]
    assert plain["model_name"] == "search"
    assert (output["name"], output["datatype"], output["shape"]) == ("embedding", "FP32", [3, 32])
    np.testing.assert_allclose(remote, binary, atol=1e-6)
    np.testing.assert_allclose(np.reshape(output["data"], (3, 32)), binary, atol=1e-6)


def test_its_tokens_are_those_of_training(models: Path, triton: Triton) -> None:
    trained = json.loads((models / TOKEN_IDS_FILE).read_text())
    told = httpx.get(f"{triton.url}/v2/models/student__tokens/config").json()["parameters"]
    assert told["token_ids"]["string_value"] == (models / TOKEN_IDS_FILE).read_text()
    assert len(trained["samples"]) > 10
    for sample in trained["samples"]:
        text = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [sample["text"]]}
        kind = {"input_type": sample["kind"].lower()}
        found = triton.ask("student__tokens", inputs=[text], parameters=kind).json()["outputs"]
        rows = {output["name"]: output["data"] for output in found}
        assert rows["input_ids"] == sample["tokens"]
        assert rows["attention_mask"] == [1] * len(sample["tokens"])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"text": []}, "has 0 texts and 1 to 32 are taken"),
        ({"text": ["a0"] * 33}, "has 33 texts and 1 to 32 are taken"),
        ({"text": ["a0"], "input_type": "title"}, "use query or document"),
    ],
)
def test_what_cannot_be_answered_is_the_clients_fault_and_says_why(
    triton: Triton, body: dict[str, Any], said: str
) -> None:
    text = {"name": "text", "shape": [len(body["text"])], "datatype": "BYTES", "data": body["text"]}
    told = {"parameters": {"input_type": body["input_type"]}} if "input_type" in body else {}
    answer = triton.ask("search", inputs=[text], **told)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_requests_of_several_lengths_come_in_one_batch_and_keep_their_rows(
    student: Path, serve: Serve, tmp_path: Path
) -> None:
    # The float graph: activations of the INT8 one are scaled by their batch.
    whole = shutil.copytree(student, tmp_path / "float", ignore=lambda *_: ["model_quantized.onnx"])
    models = published(whole, tmp_path, max_queue_delay_microseconds=100_000)
    triton = serve(models / "triton")
    texts = [" ".join(f"{'abcdefgh'[n % 8]}{m}" for m in range(1 + n % 9)) for n in range(24)]
    client = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{triton.grpc}")
    waiting = [Future[Any]() for _ in texts]
    for text, one in zip(texts, waiting, strict=True):
        client.async_infer("student", _inputs(tritonclient.grpc, text=[text]), _into(one))
    found = np.concatenate([one.result(60).as_numpy("embedding") for one in waiting])
    client.close()
    wanted = SentenceTransformer(str(models), device="cpu").encode(texts, prompt_name="document")
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    batches = re.search(r'nv_inference_exec_count{model="student__graph".*} (\d+)', triton.page())
    assert batches is not None
    # Beside the three of the warm-up, which are not counted everywhere.
    assert int(batches[1]) < 24
    triton.stop()


def _into(future: Future[Any]) -> Callable[..., None]:
    """Return what takes an answer, or the reason why there is none."""

    def take(result: Any, error: Any) -> None:
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    return take


def _json(text: str) -> dict[str, Any]:
    return {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}


def test_a_reranker_scores_each_document(reranker: Path, serve: Serve, tmp_path: Path) -> None:
    models = published(reranker, tmp_path)
    triton = serve(models / "triton")
    documents = ["c2 d3 e4", "a0", "b1 b2 b3 b4"]
    wanted = CrossEncoder(str(models), device="cpu").predict([("a0 b1", one) for one in documents])
    client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{triton.http}")
    given = _inputs(tritonclient.http, query=["a0 b1"], documents=documents)
    found = client.infer("student", given).as_numpy("score")
    client.close()
    assert found.shape == (3, 1)
    np.testing.assert_allclose(found[:, 0], wanted, atol=1e-5)
    triton.stop()


def test_the_onnx_runtime_backends_ensemble_fits_together(
    student: Path, serve: Serve, tmp_path: Path
) -> None:
    # The package's server lacks that backend: a model of ours stands in its place, with its very
    # inputs, outputs and batching, and runs the very file that it would run.
    models = published(student, tmp_path, backend="OnnxRuntime")
    graph = models / "triton" / "student__graph"
    config = (graph / "config.pbtxt").read_text()
    assert 'backend: "onnxruntime"' in config
    onnxruntime.InferenceSession(str(graph / "1" / "model.onnx"))
    (graph / "config.pbtxt").write_text(config.replace('"onnxruntime"', '"python"'))
    (graph / "1" / "model.py").write_text(STAND_IN)
    triton = serve(models / "triton")
    found = triton.ask(
        "student", inputs=[{"name": "text", "shape": [3], "datatype": "BYTES", "data": TEXTS}]
    ).json()
    (output,) = found["outputs"]
    wanted = SentenceTransformer(str(models), device="cpu").encode(TEXTS, prompt_name="document")
    assert min(_cosines(np.reshape(output["data"], (3, 32)), wanted)) > 0.98
    # Lengths are rounded up, so that Triton may put requests together.
    tokens = triton.ask("student__tokens", inputs=[_json("a0 b1 c2")]).json()["outputs"]
    assert {tuple(output["shape"]) for output in tokens} == {(1, 8)}
    triton.stop()


STAND_IN = """
import os, numpy, onnxruntime
import triton_python_backend_utils as triton

class TritonPythonModel:
    def initialize(self, args):
        place = os.path.join(os.path.dirname(__file__), "model.onnx")
        self.session = onnxruntime.InferenceSession(place)
        self.inputs = [one.name for one in self.session.get_inputs()]

    def execute(self, requests):
        made = []
        for one in requests:
            given = {name: triton.get_input_tensor_by_name(one, name).as_numpy()
                     for name in self.inputs}
            (rows,) = self.session.run(None, given)
            name = self.session.get_outputs()[0].name
            made.append(triton.InferenceResponse([triton.Tensor(name, rows)]))
        return made
"""


def _target(triton: Triton) -> Target:
    return Target(
        Arm.STUDENT,
        "pod-0",
        "u",
        f"http://127.0.0.1:{triton.metrics}/metrics",
        Runtime.TRITON,
        NOW,
        NOW,
        requests=triton.url,
    )


async def test_the_operator_compares_its_tokens_with_those_of_training(
    models: Path, triton: Triton
) -> None:
    async with aiohttp.ClientSession() as session:
        found = await tokens.compare(session, _target(triton))
        nobody = replace(_target(triton), requests=None)
        foreign = await tokens.compare(session, nobody)
    digest = hashlib.sha256((models / TOKEN_IDS_FILE).read_bytes()).hexdigest()
    assert (found.difference, found.problem, found.absent) == (None, None, None)
    assert (found.texts, found.digest) == (18, f"sha256:{digest}")
    assert "has no model student__tokens" in (foreign.absent or "")


async def test_the_prober_is_answered_and_counted_apart(models: Path, triton: Triton) -> None:
    student = SentenceTransformer(str(models), device="cpu")
    before = await _counted(triton)
    async with httpx.AsyncClient() as client:
        arm = OpenInferenceArm(client, "student", triton.url, "search")
        found = await arm.embed(TEXTS * 12, "query")
    triton.ask("search", inputs=[_json("a0")])
    triton.ask("search", inputs=[_json("a0")], parameters={"input_type": "title"})
    wanted = student.encode(TEXTS * 12, prompt_name="query")
    assert found.digest == "sha256:w"
    assert min(_cosines(found.values, wanted)) > 0.98
    after = await _counted(triton)
    # One user's request; a mistake of theirs and two requests of the prober count for nothing.
    assert (after[0] - before[0], after[1] - before[1]) == (1, 0)


async def _counted(triton: Triton) -> tuple[int, int]:
    errors = Metric(name="errors", errors=Errors())
    wanted = scrape.Wanted("team", (_target(triton),), (errors,))
    async with aiohttp.ClientSession() as session:
        seen = await scrape.look(session, wanted)
    (counts,) = seen.counts
    return counts.requests, counts.events


async def test_the_prober_asks_our_own_server_by_the_same_protocol(
    student: Path, start: Start
) -> None:
    server = start(student)
    async with httpx.AsyncClient() as client:
        found = await OpenInferenceArm(client, "teacher", server.url, "tiny").embed(TEXTS, "query")
    wanted = SentenceTransformer(str(student), device="cpu").encode(TEXTS, prompt_name="query")
    assert min(_cosines(found.values, wanted)) > 0.98
