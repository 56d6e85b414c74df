"""A quantised generator and its teacher are measured on real vLLM, in the pod of their job."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import images
import pytest
import story
import tiny_causal
from devcluster import Cluster
from distill_trainer.publishing import pull
from distill_trainer.students import causal
from kubernetes import client
from operators import eventually
from story import Story
from trainer import write_jsonl

END_SECONDS: Final = 900.0
REQUESTS: Final = 24
ROWS: Final = 120
pytestmark = [pytest.mark.usefixtures("crd"), pytest.mark.slow, pytest.mark.timeout(1200)]


def write_inputs(folder: Path) -> None:
    """Write a teacher whose heads and layers vLLM's kernels for processors take, and questions."""
    made = tiny_causal.taught(tiny_causal.model(layers=3, hidden=128, heads=4), ROWS)
    causal.save(made, folder / "teacher")
    story.pack(folder, "teacher")
    write_jsonl(folder / "questions.jsonl", tiny_causal.rows(ROWS))


def spec(base: str, image: str, target: str) -> dict[str, Any]:
    """Return a job of seconds, whose student misses one gate: a first token within 1 µs."""
    found = story.spec(base, target, steps=4)
    return found | {
        "component": "Generator",
        "teacher": {
            "model": {"uri": f"{base}/teacher.tar.gz"},
            "batchSize": 16,
            "sampling": {"maxTokens": 8, "topLogprobs": 8},
        },
        "student": {"fromTeacher": {"keepLayers": [0, 2]}},
        "data": {"source": {"uri": f"{base}/questions.jsonl"}},
        "recipe": {"generator": {"logits": {}}},
        "quantize": {"method": "INT4", "groupSize": 64, "maxLoss": 1.0},
        "evaluation": {
            "onMissedGate": "Publish",
            "latencyRequests": 10,
            "throughputBatchSize": 4,
            "bootstrapSamples": 100,
            "benchmark": {
                "requestsPerSecond": 4,
                "requests": REQUESTS,
                "timeoutSeconds": 60,
                "maxFailures": 0,
                "maxMemoryMebibytes": 8000,
                "vllm": {
                    "image": image,
                    "args": ["--enforce-eager", "--max-model-len", "128", "--max-num-seqs", "4"],
                    "env": [{"name": "VLLM_CPU_KVCACHE_SPACE", "value": "1"}],
                    "resources": {
                        "requests": {"cpu": "20m", "memory": "1Gi"},
                        "limits": {"cpu": "1", "memory": "5Gi"},
                    },
                    "maxP95TimeToFirstTokenMilliseconds": 0.001,
                    "maxP95TimePerOutputTokenMilliseconds": 50_000,
                },
            },
        },
    }


@pytest.fixture(scope="module")
def measured(
    cluster: Cluster,
    api: client.ApiClient,
    shared_space: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    vllm = images.image(cluster, "vllm")
    with story.running(cluster, shared_space, folder) as base:
        told = Story(api, shared_space, "measured")
        told.begin(spec(base, vllm, f"{cluster.registry}/{shared_space}/measured"))
        eventually(told.finished, "the job to end", within=END_SECONDS)
        yield told


def test_status_has_the_tokens_of_both_and_the_missed_gate_its_numbers(measured: Story) -> None:
    evaluation = measured.status().get("evaluation", {})
    assert "benchmark" in evaluation, measured.describe()
    found = evaluation["benchmark"]
    assert found.get("remark") is None
    for model in ("student", "teacher"):
        load = found[model]
        assert (load["requests"], load["failures"]) == (REQUESTS, 0)
        first, each = (load["tokens"][of] for of in ("timeToFirstToken", "timePerOutputToken"))
        assert 0 < float(first["p50Milliseconds"]) < float(load["p50Milliseconds"])
        assert 0 < float(each["p50Milliseconds"]) < float(load["p50Milliseconds"])
        assert REQUESTS <= load["tokens"]["outputTokens"] <= 8 * REQUESTS
        assert float(load["tokens"]["tokensPerSecond"]) > 0
        assert 300 * 2**20 < load["peakMemoryBytes"] < 5 * 2**30
    assert evaluation["verdict"] == "Missed"
    missed, _, held = evaluation["explanation"].partition("Held:")
    assert "served P95 of the time to the first token at 4 requests a second" in missed
    assert "(at most 0.001 ms asked)" in missed
    for kept in ("time per output token", "the server's memory", f"0 of {REQUESTS} requests"):
        assert kept in held, evaluation["explanation"]


def test_the_job_ends_with_vllm_beside_its_trainer_and_counts_it(measured: Story) -> None:
    assert measured.condition("Succeeded")["status"] == "True", measured.describe()
    (pod,) = measured.pods("Evaluate")
    assert pod.status.phase == "Succeeded"
    names = [entry.name for entry in pod.status.init_container_statuses]
    assert names == ["hand-over", "vllm"]
    assert all(entry.restart_count == 0 for entry in pod.status.init_container_statuses)
    # Four starts of vLLM: more than the trainer itself uses here.
    assert float(measured.stage("Evaluate")["usage"]["cpuSeconds"]) > 20


def test_report_and_model_card_are_published_with_the_numbers(
    measured: Story, tmp_path: Path
) -> None:
    pull.pull(measured.status()["artifact"]["uri"], tmp_path, plain_http=True)
    page = (tmp_path / "models/report.html").read_text()
    assert "vLLM, which will serve the student" in page
    assert page.count("<svg") == 6
    times = json.loads((tmp_path / "models/evaluation.json").read_text())["benchmark"]["teacher"]
    assert len(times["firstTokenSeconds"]) == len(times["seconds"]) == REQUESTS
    card = (tmp_path / "models/README.md").read_text()
    tokens = measured.status()["evaluation"]["benchmark"]["student"]["tokens"]
    first = tokens["timeToFirstToken"]["p95Milliseconds"]
    assert f"| served: P95 to the first token (ms) | {first} |" in card
