"""A student behind real HTTP: OpenAI's client, the Open Inference Protocol, refusals, counters."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import tritonclient.http
from distill_server.telemetry import BOUNDARIES
from sentence_transformers import SentenceTransformer
from servers import Running

TEXTS = ["a1 b2 c3", "d4 d5", "e5 f6 g7"]


@pytest.fixture(scope="module")
def oracle(student: Path) -> SentenceTransformer:
    return SentenceTransformer(str(student), device="cpu")


@pytest.fixture
def client(server: Running):
    with httpx.Client(base_url=server.url, timeout=120) as made:
        yield made


@pytest.fixture
def openai_client(server: Running):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_openais_client_gets_the_embeddings(
    openai_client: openai.OpenAI, oracle: SentenceTransformer
):
    found = openai_client.embeddings.create(model="tiny", input=TEXTS)
    assert [one.index for one in found.data] == [0, 1, 2]
    vectors = np.array([one.embedding for one in found.data])
    assert np.abs(vectors - oracle.encode(TEXTS, prompt="")).max() < 1e-5
    assert found.usage.prompt_tokens == found.usage.total_tokens == 5 + 4 + 5


def test_floats_and_base64_are_the_same_numbers(client: httpx.Client):
    body = {"input": TEXTS[0]}
    floats = client.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
    packed = client.post("/v1/embeddings", json=body | {"encoding_format": "base64"}).json()
    raw = base64.b64decode(packed["data"][0]["embedding"])
    assert np.frombuffer(raw, "<f4").tolist() == np.float32(floats).tolist()


def test_a_cut_embedding_has_length_one_again(client: httpx.Client, oracle: SentenceTransformer):
    found = client.post("/v1/embeddings", json={"input": TEXTS[0], "dimensions": 8}).json()
    vector = np.array(found["data"][0]["embedding"])
    expected = oracle.encode(TEXTS[0], prompt="")[:8]
    assert np.abs(vector - expected / np.linalg.norm(expected)).max() < 1e-5


@pytest.mark.parametrize("chosen", [{"input_type": "search_query"}, {"prompt_name": "query"}])
def test_a_query_gets_the_models_prompt(
    client: httpx.Client, oracle: SentenceTransformer, chosen: dict[str, str]
):
    found = client.post("/v1/embeddings", json={"input": TEXTS[0], **chosen}).json()
    vector = np.array(found["data"][0]["embedding"])
    assert np.abs(vector - oracle.encode(TEXTS[0], prompt_name="query")).max() < 1e-5
    assert np.abs(vector - oracle.encode(TEXTS[0], prompt="")).max() > 1e-3


def test_tokens_are_taken_for_the_text_they_came_from(
    client: httpx.Client, oracle: SentenceTransformer
):
    ids = oracle.tokenizer(TEXTS[0])["input_ids"]
    for given in (ids, [ids]):
        found = client.post("/v1/embeddings", json={"input": given}).json()
        vector = np.array(found["data"][0]["embedding"])
        assert np.abs(vector - oracle.encode(TEXTS[0], prompt="")).max() < 1e-5


def test_open_inference_protocol(client: httpx.Client, oracle: SentenceTransformer):
    told = client.get("/v2/models/tiny").json()
    assert told["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert told["outputs"] == [{"name": "embedding", "datatype": "FP32", "shape": [-1, 24]}]
    tensor = {"name": "text", "shape": [3], "datatype": "BYTES", "data": TEXTS}
    found = client.post("/v2/models/tiny/infer", json={"id": "7", "inputs": [tensor]}).json()
    (output,) = found["outputs"]
    assert (found["id"], output["shape"], output["datatype"]) == ("7", [3, 24], "FP32")
    rows = np.array(output["data"]).reshape(3, 24)
    assert np.abs(rows - oracle.encode(TEXTS, prompt="")).max() < 1e-5
    paths = ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/tiny/ready"]
    assert [client.get(path).status_code for path in paths] == [200] * 4


def test_tritons_client_is_answered(server: Running, oracle: SentenceTransformer):
    client = tritonclient.http.InferenceServerClient(server.url.removeprefix("http://"))
    given = tritonclient.http.InferInput("text", [3], "BYTES")
    given.set_data_from_numpy(np.array(TEXTS, dtype=object))
    found = client.infer("tiny", [given], parameters={"input_type": "query"})
    plain = client.infer("tiny", [given])
    assert client.is_server_ready()
    client.close()
    wanted = oracle.encode(TEXTS, prompt_name="query")
    assert np.abs(found.as_numpy("embedding") - wanted).max() < 1e-5
    assert np.abs(plain.as_numpy("embedding") - oracle.encode(TEXTS, prompt="")).max() < 1e-5


@pytest.mark.parametrize(
    ("head", "rest", "length", "said"),
    [
        ({"inputs": []}, b"", "x", "must be the length of the JSON"),
        ({"inputs": []}, b"", "999", "must be the length of the JSON"),
        ({"inputs": 3}, b"", None, "has no inputs"),
        ({"inputs": [8]}, b"\1\0\0\0a", None, "5 bytes are left"),
        ({"inputs": [3]}, b"\1\0\0", None, "ends within the length"),
        ({"inputs": [5]}, b"\7\0\0\0a", None, "longer than the tensor"),
        ({"inputs": [5]}, b"\1\0\0\0\xff", None, "not written in UTF-8"),
    ],
)
def test_binary_tensors_that_do_not_fit_are_refused(
    client: httpx.Client, head: dict[str, Any], rest: bytes, length: str | None, said: str
):
    if isinstance(head["inputs"], list):
        text = {"name": "text", "shape": [1], "datatype": "BYTES"}
        sizes = [{"parameters": {"binary_data_size": size}} for size in head["inputs"]]
        head = {"inputs": [text | size for size in sizes]}
    raw = json.dumps(head).encode()
    told = {"inference-header-content-length": length or str(len(raw))}
    answer = client.post("/v2/models/tiny/infer", content=raw + rest, headers=told)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_pages_around_the_model(client: httpx.Client, openai_client: openai.OpenAI):
    assert [one.id for one in openai_client.models.list()] == ["tiny"]
    paths = ["/health", "/healthz", "/readyz", "/metrics"]
    assert [client.get(path).status_code for path in paths] == [200] * 4


REFUSED: list[tuple[Any, int, str]] = [
    (b"{", 400, "Invalid JSON"),
    ({"input": ""}, 400, "expected is a text that is not empty"),
    ({"input": []}, 400, "expected is a text that is not empty"),
    ({"input": ["a", [1]]}, 400, "expected is a text that is not empty"),
    ({}, 400, "the field input is wrong: Field required"),
    ({"input": "a1", "dimensions": 25}, 400, "dimensions is 25 .* ask for 1 to 24"),
    ({"input": "a1", "dimensions": 0}, 400, "the field dimensions is wrong"),
    ({"input": "a1", "encoding_format": "int8"}, 400, "the field encoding_format is wrong"),
    ({"input": "a1", "prompt_name": "poem"}, 400, "no prompt 'poem'; its prompts: document, query"),
    ({"input": ["a1"] * 1025}, 400, "1025 inputs and 1 to 1024 are taken"),
    ({"input": [[5, 99999]]}, 400, "token 99999 and this model's vocabulary is 0 to 100"),
    ({"input": [list(range(40))]}, 400, "40 tokens and this model reads 1 to 32"),
    ({"input": "a1", "model": "gpt"}, 404, "the model 'gpt' is not served here: ask for 'tiny'"),
    ({"input": "a" * 9_000_000}, 413, "larger than 8388608 bytes"),
]


@pytest.mark.parametrize(("body", "status", "sentence"), REFUSED, ids=[r[2] for r in REFUSED])
def test_a_bad_request_is_answered_with_a_sentence(
    client: httpx.Client, body: Any, status: int, sentence: str
):
    sent = {"content": body} if isinstance(body, bytes) else {"json": body}
    found = client.post("/v1/embeddings", **sent)
    error = found.json()["error"]
    assert found.status_code == status
    assert re.search(sentence, error["message"])
    assert error["type"] == "invalid_request_error"


def test_other_paths_and_protocols_are_refused_in_their_own_words(client: httpx.Client):
    rerank = client.post("/rerank", json={"query": "a", "documents": ["b"]})
    infer = client.post("/v2/models/tiny/infer", json={"inputs": []})
    missing = client.post("/v1/completions", json={})
    assert "use /v1/embeddings" in rerank.json()["error"]["message"]
    assert infer.json() == {"error": "an embedding model takes exactly one input, named text"}
    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "invalid_request_error")


def test_every_answer_has_its_id_and_its_arm(client: httpx.Client):
    kept = client.post("/v1/embeddings", json={"input": "a"}, headers={"x-request-id": "mine-1"})
    new = [client.get("/readyz").headers["x-request-id"] for _ in range(2)]
    bad = client.post("/v1/embeddings", json={}, headers={"x-request-id": "with blank"})
    assert kept.headers["x-request-id"] == "mine-1"
    assert len(set(new)) == 2
    assert re.fullmatch("[0-9a-f]{32}", bad.headers["x-request-id"])
    assert {r.headers["x-model-variant"] for r in (kept, bad)} == {"student"}
    (digest,) = {r.headers["x-model-digest"] for r in (kept, bad)}
    assert f'digest="{digest}"' in client.get("/metrics").text


def _series(client: httpx.Client) -> dict[str, float]:
    lines = client.get("/metrics").text.splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
    }


def _changes(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    counted = {name for name in after if "requests_total" in name or "_seconds_count{" in name}
    return {n: after[n] - before[n] for n in counted if after[n] != before[n]}


def _of(name: str, **labels: str) -> str:
    inside = ",".join(f'{k}="{v}"' for k, v in labels.items())
    return f"distill_server_{name}{{{inside}}}"


EMBEDDINGS = {"handler": "/v1/embeddings", "variant": "student"}


def test_users_and_the_prober_are_counted_apart_and_pages_not_at_all(client: httpx.Client):
    before = _series(client)
    client.post("/v1/embeddings", json={"input": "a1"})
    client.post("/v1/embeddings", json={"nothing": "a1"})
    client.post("/v1/embeddings", json={"input": "a1"}, headers={"x-kubedistill-probe": "true"})
    for path in ("/readyz", "/healthz", "/metrics", "/v1/models", "/nowhere"):
        client.get(path)
    handler = {"handler": "/v1/embeddings"}
    changes = _changes(before, _series(client))
    assert changes == {
        _of("requests_total", **handler, status="2xx", variant="student"): 1,
        _of("requests_total", **handler, status="4xx", variant="student"): 1,
        _of("request_duration_seconds_count", **EMBEDDINGS): 1,
        _of("probe_requests_total", **handler, status="2xx", variant="student"): 1,
        _of("probe_request_duration_seconds_count", **EMBEDDINGS): 1,
    }


def test_each_latency_limit_is_a_boundary_and_errors_have_a_series_from_the_start(
    client: httpx.Client,
):
    series = _series(client)
    for le in ("0.15", "0.1205", "+Inf"):
        name = "request_duration_seconds_bucket"
        labels = {"handler": "/v1/embeddings", "le": le, "variant": "student"}
        assert _of(name, **labels) in series
    assert 0.1205 not in BOUNDARIES
    for handler in ("/v1/embeddings", "/v2/rerank", "/v2/models/infer"):
        failed = _of("requests_total", handler=handler, status="5xx", variant="student")
        assert series[failed] == 0


def test_metrics_tell_what_is_served(client: httpx.Client, student: Path):
    (info,) = [name for name in _series(client) if name.startswith("distill_server_model_info")]
    assert 'kind="Embedding"' in info
    assert 'runtime="OnnxRuntime"' in info
    assert len(re.findall(r'(?:digest|weights)="sha256:[0-9a-f]{64}"', info)) == 2


def test_a_users_vote_is_counted_for_the_arm_that_answered(client: httpx.Client):
    before = _series(client)
    assert client.post("/v1/feedback", json={"id": "1", "value": "down"}).status_code == 204
    other = {"id": "2", "value": "up", "variant": "teacher"}
    assert client.post("/v1/feedback", json=other).status_code == 204
    # Sent again, as by a client that lost the answer.
    assert client.post("/v1/feedback", json=other).status_code == 204
    bad = client.post("/v1/feedback", json={"id": "3", "value": "so-so"})
    after = _series(client)
    assert "the field value is wrong" in bad.json()["error"]["message"]
    own = _of("feedback_total", value="down", variant="student")
    assert after[own] - before[own] == 1
    assert after[_of("feedback_total", value="up", variant="teacher")] == 1
