"""An INT8 student on Triton takes over from its teacher on our server, through a real gateway."""

import json
import shutil
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import images
import moving
import numpy as np
import pytest
import triton_students
import tritonclient.http
from devcluster import Cluster, traffic
from distill_api.exports import TritonRepository
from distill_trainer.triton import repository
from moving import HOSTNAME, NAME, Models, Scene
from operators import Operator
from sentence_transformers import SentenceTransformer

from examples.embedding import fixtures

pytestmark = [pytest.mark.usefixtures("crd"), pytest.mark.slow]
RATE: Final = 15.0
TEXTS: Final = ["a0 b5 c10", "d3 e8"]
STEPS: Final = [{"weight": w, "minSoakSeconds": 5, "minRequests": 40} for w in (50, 100)]
ERRORS: Final = {"name": "errors", "errors": {"fine": 0.005, "limit": 0.05}}
AGREES: Final = {"name": "ndcg", "quality": {}, "critical": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the student as it is published: float weights, INT8 graph, Triton repository."""
    made = tmp_path_factory.mktemp("models") / "student"
    triton_students.student(made)
    repository.write(made, TritonRepository(backend="Python"), weights="sha256:w")
    return made


@pytest.fixture(scope="module")
def models(cluster: Cluster, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Models:
    teacher = tmp_path_factory.mktemp("teacher") / "teacher"
    shutil.copytree(folder, teacher, ignore=shutil.ignore_patterns("triton", "*_quantized.onnx"))
    return Models(
        teacher=fixtures.push_folder(teacher, f"{cluster.registry}/tests/triton-teacher"),
        student=fixtures.push_folder(folder, f"{cluster.registry}/tests/triton-student"),
    )


def test_a_student_on_triton_is_promoted_and_answers_as_its_teacher_does(
    scene: Scene, serving_operator: Operator, folder: Path, tmp_path: Path
) -> None:
    roll_out(scene, moving.push_queries(scene.cluster.registry, tmp_path))
    sent = request(scene)
    scene.reaches("an answer", lambda _: traffic.succeeds(sent), within=240)
    with traffic.flowing([sent], per_second=RATE) as flow:
        scene.serves_at(500)
        found = asked(scene, 12)
        scene("wait", f"drollout/{NAME}", "--for=condition=Promoted", "--timeout=300s")
        status, pods = scene.status(), serving(scene)
        # Taken away under load: it drains, and the other one takes over.
        scene("delete", "pod", pods[0]["metadata"]["name"], "--timeout=120s")
    assert not [outcome for outcome in flow.outcomes if not outcome.good]
    # Both arms answered, with the float numbers or with the INT8 ones, and all about alike.
    wanted = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, prompt_name="query")
    for rows in found:
        assert float(np.sum(rows * wanted, axis=1).min()) > 0.98
    metrics = {metric["name"]: metric for metric in status["metrics"]}
    assert metrics["errors"]["student"]["count"] >= 80
    assert metrics["ndcg"]["student"]["count"] > 0
    tokens = next(c for c in status["conditions"] if "token by token" in c["message"])
    assert tokens["status"] == "True"
    page = counters(scene, pods[1])
    assert 'nv_inference_request_success{model="mini",version="1"}' in page
    assert (
        'nv_inference_request_failure{model="student__graph",reason="BACKEND",version="1"} 0'
        in page
    )


def roll_out(scene: Scene, queries: str) -> None:
    scene.roll_out(
        student={
            "deployment": {
                "runtime": "Triton",
                "image": images.image(scene.cluster, "triton"),
                "resources": moving.SMALL,
                "replicas": 2,
                "drainSeconds": 5,
            }
        },
        gateway={"route": {"parentRefs": [{"name": scene.gateway.name}]}},
        schedule={"steps": STEPS, "minReadySeconds": 1},
        metrics=[ERRORS, AGREES],
        prober={"queries": {"uri": queries, "plainHttp": True}, "queriesPerMinute": 240},
    )


def request(scene: Scene) -> traffic.Request:
    """Return a user's request by the protocol that both arms speak."""
    text = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [TEXTS[0]]}
    body = json.dumps({"inputs": [text]}).encode()
    headers = {"content-type": "application/json", "host": HOSTNAME}
    return traffic.Request(f"{scene.gateway.url}/v2/models/{NAME}/infer", "POST", headers, body)


def asked(scene: Scene, times: int) -> list[Any]:
    """Ask through the gateway by Triton's own client, with its binary tensors."""
    client = tritonclient.http.InferenceServerClient(urlsplit(scene.gateway.url).netloc)
    given = tritonclient.http.InferInput("text", [len(TEXTS)], "BYTES")
    given.set_data_from_numpy(np.array(TEXTS, dtype=object))
    told = {"input_type": "query"}
    found = [client.infer(NAME, [given], parameters=told) for _ in range(times)]
    client.close()
    return [one.as_numpy("embedding") for one in found]


def serving(scene: Scene) -> list[Any]:
    """Return the student's pods."""
    found = scene.get("pods", "-l", "app.kubernetes.io/component=student")["items"]
    assert len(found) == 2
    return found


def counters(scene: Scene, pod: Any) -> str:
    """Return a pod's own counters."""
    command = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
    address = f"http://{pod['status']['podIP']}:8002/metrics"
    return scene("exec", pod["metadata"]["name"], "--", "python3", "-c", command, address)
