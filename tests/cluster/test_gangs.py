"""Two pods on two nodes train one generator by every strategy; a lost node loses no job."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import shared_volumes
import story
import tiny_causal
import torch
from devcluster import Cluster
from distill_trainer.students import causal
from kubernetes import client
from namespaces import Namespace
from operators import eventually
from story import Story
from trainer import write_jsonl

STRATEGIES = {"ddp": "DDP", "fsdp2": "FSDP2", "zero": "ZeRO2"}
LONG, SHORT = 600, 30
"""Steps of the training that is disturbed, and of the others."""
FINISH_SECONDS = 900.0
pytestmark = [pytest.mark.usefixtures("crd"), pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class World:
    """Where the jobs of this module run, and on what."""

    cluster: Cluster
    api: client.ApiClient
    space: str
    base: str

    def begin(self, name: str, strategy: str, steps: int) -> Story:
        told = Story(self.api, self.space, name)
        told.begin(spec(self, name, strategy, steps))
        return told


def spec(world: World, name: str, strategy: str, steps: int) -> dict[str, Any]:
    """Return the generator example's job on a tiny teacher, trained by two pods."""
    found = story.spec(world.base, f"{world.cluster.registry}/{world.space}/{name}", steps=steps)
    found |= {
        "component": "Generator",
        "student": {"architecture": "Causal", "fromTeacher": {"keepLayers": [0, 3]}},
        "data": {"source": {"uri": f"{world.base}/questions.jsonl"}},
        "recipe": {"generator": {"logits": {"temperature": 2, "alpha": 0.7}}},
        "retries": 2,
    }
    found["teacher"]["sampling"] = {"temperature": 0.3, "maxTokens": 8, "topLogprobs": 8}
    found["training"] = {
        "maxSteps": steps,
        "batchSize": 8,
        "checkpointSteps": 20,
        "validationSteps": 300,
        "distributed": {"pods": 2, "strategy": strategy},
    }
    found["podTemplate"]["resources"]["limits"]["memory"] = "4Gi"
    shared_volumes.ask_for(found, world.space)
    return found


@pytest.fixture(scope="module")
def world(
    two_nodes: Cluster,
    api: client.ApiClient,
    shared_space: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("inputs")
    torch.set_num_threads(1)  # two that wait for each other are slow where others work as well
    causal.save(tiny_causal.taught(tiny_causal.model(), 90), folder / "teacher")
    story.pack(folder, "teacher")
    write_jsonl(folder / "questions.jsonl", tiny_causal.rows(90))
    volumes = shared_volumes.made(two_nodes, shared_space, tmp_path_factory.mktemp("volumes"), 6)
    with volumes, story.running(two_nodes, shared_space, folder) as base:
        yield World(two_nodes, api, shared_space, base)


@pytest.fixture(scope="module")
def undisturbed(world: World) -> dict[str, Story]:
    """Return a job of every strategy, side by side, each at its end."""
    told = {
        name: world.begin(name, strategy, LONG if name == "ddp" else SHORT)
        for name, strategy in STRATEGIES.items()
    }
    for one in told.values():
        finish(one)
    return told


def finish(told: Story) -> None:
    """Wait for a good end."""
    eventually(told.finished, told.describe(), within=FINISH_SECONDS)
    assert told.condition("Succeeded")["status"] == "True", told.describe()


@pytest.mark.parametrize("name", STRATEGIES)
def test_two_pods_on_two_nodes_train_one_student(undisturbed: dict[str, Story], name: str) -> None:
    told = undisturbed[name]
    pods = told.pods("Train")
    assert len(pods) == 2, told.describe()
    assert {pod.spec.node_name for pod in pods} == {"node-1", "node-2"}
    assert told.stage("Train").get("failures") is None
    assert told.status()["artifact"]["uri"].startswith("oci://")


def test_a_lost_node_costs_only_the_steps_since_the_last_checkpoint(
    world: World, undisturbed: dict[str, Story]
) -> None:
    told = world.begin("disturbed", "DDP", LONG)
    described = Namespace(world.cluster, world.space)

    def both_train() -> list[client.V1Pod]:
        pods = told.running("Train")
        return pods if len(pods) == 2 and told.progress("Train") >= 20 else []

    pods = eventually(both_train, "both pods train", within=FINISH_SECONDS, every=0.1)
    assert "2 of 2 pods ready" in described("describe", "djob", told.name)
    lost = next(pod for pod in pods if pod.metadata.name.rsplit("-", 2)[-2] == "1")
    world.cluster.kill_node(lost.spec.node_name)
    time.sleep(10)
    world.cluster.start_node(lost.spec.node_name)
    again = eventually(lambda: told.stage("Train").get("message"), "the loss is told", within=180)
    # Until its node is back only the other pod can tell, which knows it by its number.
    assert lost.metadata.name in again or "Pod 1 of the training was lost" in again
    finish(told)
    assert told.stage("Train")["failures"] == 1, told.describe()
    assert told.stage("Train")["attempt"] == 0
    ours, theirs = (one.status()["artifact"]["weightsDigest"] for one in (told, undisturbed["ddp"]))
    assert ours == theirs
