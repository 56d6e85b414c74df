"""A student is exported and published; without a GPU its engine is left out, and status says so."""

import json
from collections.abc import Iterator

import pytest
import story
from devcluster import Cluster
from kubernetes import client
from operators import eventually
from story import Story

END_SECONDS = 600.0
pytestmark = [pytest.mark.usefixtures("crd"), pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def exported(
    cluster: Cluster,
    api: client.ApiClient,
    shared_space: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("inputs")
    story.write_teacher(folder)
    story.write_corpus(folder / "corpus.jsonl", 150)
    with story.running(cluster, shared_space, folder) as base:
        told = Story(api, shared_space, "exported")
        spec = story.spec(base, f"{cluster.registry}/{shared_space}/exported", steps=20)
        spec["export"] = {"onnx": {}, "tensorRT": {"waitSeconds": 5}}
        told.begin(spec)
        eventually(told.finished, "the job to end", within=END_SECONDS)
        yield told


def test_the_graph_is_published_and_the_engine_is_left_out_with_a_sentence(exported: Story) -> None:
    succeeded = exported.condition("Succeeded")
    assert succeeded["status"] == "True", exported.describe()
    engine = exported.stage("Engine")
    assert engine["state"] == "Skipped"
    assert "was left out after 5 s" in engine["message"]
    assert "Insufficient nvidia.com/gpu" in engine["message"]
    assert engine["message"] in succeeded["message"]
    assert not exported.jobs("Engine"), "its Job is removed"
    assert exported.stage("Export")["state"] == "Complete"
    assert "ONNX: model.onnx" in exported.stage("Export")["summary"]
    assert exported.status()["artifact"]["formats"] == ["safetensors", "onnx"]


def test_an_event_tells_of_the_engine_that_was_left_out(exported: Story, cluster: Cluster) -> None:
    # By kubectl: the client refuses what the kubelet writes, which has no eventTime.
    asked = ("-n", exported.namespace, "get", "events.events.k8s.io", "-o", "json")
    events = json.loads(cluster.kubectl(*asked))["items"]
    told = [event for event in events if event["reason"] == "StageSkipped"]
    assert told
    assert told[0]["type"] == "Warning"
