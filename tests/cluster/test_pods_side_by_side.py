"""Two pods on two nodes label one data set, then train the trials of a sweep side by side."""

import json
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import shared_volumes
import story
from devcluster import Cluster
from distill_trainer.labelling import shards
from kubernetes import client
from operators import eventually
from story import Story

RECORDS = 3 * shards.SIZE
"""Three shards of queries, and as many of documents."""
FINISH_SECONDS = 600.0
PIECE = re.compile(r"shards/(\d+)\.safetensors, \d+ of (\d+)")
"""What the label stage logs of each shard that it has made."""
pytestmark = [pytest.mark.usefixtures("crd"), pytest.mark.slow, pytest.mark.timeout(1200)]


def spec(base: str, space: str, target: str) -> dict[str, Any]:
    """Return a job that several pods label and sweep; one text a pass, so that it takes a while."""
    found = story.spec(base, target, steps=600)
    found["teacher"]["batchSize"] = 1
    found["podTemplate"]["labelPods"] = 2
    shared_volumes.ask_for(found, space)
    found["sweep"] = {
        "algorithm": "Grid",
        "parameters": [{"path": "training.optimizer.learningRate", "values": ["0.001", "0.0002"]}],
        "maxTrials": 2,
        "parallelTrials": 2,
    }
    return found


@dataclass(frozen=True)
class World:
    """A job whose second label pod was killed while it made a shard."""

    told: Story
    volumes: list[Path]
    killed: client.V1Pod
    held: int
    """The shard that the killed pod had claimed."""

    def log(self, pod: client.V1Pod) -> str:
        """Return what a pod has said."""
        name, space = pod.metadata.name, pod.metadata.namespace
        return str(self.told.core.read_namespaced_pod_log(name, space))


@pytest.fixture(scope="module")
def world(
    two_nodes: Cluster,
    api: client.ApiClient,
    shared_space: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("inputs")
    story.write_teacher(folder)
    story.write_corpus(folder / "corpus.jsonl", RECORDS)
    made = shared_volumes.made(two_nodes, shared_space, tmp_path_factory.mktemp("volumes"), 2)
    with made as volumes, story.running(two_nodes, shared_space, folder) as base:
        told = Story(api, shared_space, "side-by-side")
        told.begin(spec(base, shared_space, f"{two_nodes.registry}/{shared_space}/student"))
        killed, held = kill_the_second(told, volumes)
        world = World(told, volumes, killed, held)
        eventually(told.finished, told.describe(), within=FINISH_SECONDS)
        yield world


def kill_the_second(told: Story, volumes: list[Path]) -> tuple[client.V1Pod, int]:
    """Kill the second label pod as soon as it has claimed a shard; return both."""
    what = "the second pod has claimed a shard"
    held = eventually(lambda: claimed(volumes, "/1"), what, within=300, every=0.05)
    pod = next(one for one in told.pods("Label") if index(one) == 1)
    # Asked to end it would give its claim up; the kernel out of memory does not ask.
    assert kill_processes(pod), "the pod's process runs on this machine"
    return pod, held[0]


def kill_processes(pod: client.V1Pod) -> int:
    """Kill a pod's trainer, which runs on this machine, without a word; return how many."""
    killed = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            inside = pod.metadata.uid in (process / "cgroup").read_text()
            if inside and b"distill_trainer" in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
                killed += 1
        except OSError:
            continue  # it has ended
    return killed


def claimed(volumes: list[Path], owner: str) -> list[int]:
    """Return the shards under way that a pod has claimed, by how its name ends."""
    found = []
    for claim in (path for place in volumes for path in place.rglob("shards/.*.claim")):
        try:
            if json.loads(claim.read_bytes())["owner"].endswith(owner):
                found.append(int(claim.name.split(".")[1]))
        except (OSError, ValueError):
            continue  # given up, or not written yet
    return found


def index(pod: client.V1Pod) -> int:
    """Return which of the pods of its Job a pod is."""
    return int(pod.metadata.labels["batch.kubernetes.io/job-completion-index"])


def by_index(pods: list[client.V1Pod]) -> list[client.V1Pod]:
    """Return the pods of a stage that ended well, in order."""
    return sorted((pod for pod in pods if pod.status.phase == "Succeeded"), key=index)


def test_the_job_succeeds(world: World) -> None:
    told = world.told
    assert told.condition("Succeeded")["status"] == "True", told.describe()
    assert told.status()["artifact"]["uri"].startswith("oci://")


def test_the_replacement_of_a_killed_pod_makes_what_it_had_claimed(world: World) -> None:
    pods = by_index(world.told.pods("Label"))
    assert [index(pod) for pod in pods] == [0, 1], world.told.describe()
    assert world.killed.metadata.uid not in {pod.metadata.uid for pod in pods}
    assert world.told.stage("Label")["failures"] == 1
    told = [PIECE.findall(world.log(pod)) for pod in pods]
    made = [{int(number) for number, _ in pieces} for pieces in told]
    plan = {int(count) for pieces in told for _, count in pieces}
    assert plan == {6}
    assert made[0], "the first pod worked meanwhile"
    assert world.held in made[1]
    assert not made[0] & made[1]


def test_the_labels_are_whole_and_nobody_holds_a_claim(world: World) -> None:
    found = [path for place in world.volumes for path in place.rglob("shards/*.safetensors")]
    assert len(found) == 6
    assert not claimed(world.volumes, "")
    stage = world.told.stage("Label")
    assert stage["attempt"] == 0, world.told.describe()


def test_each_pod_trains_a_trial_at_the_same_time(world: World) -> None:
    pods = by_index(world.told.pods("Train"))
    assert {pod.spec.node_name for pod in pods} == {"node-1", "node-2"}
    trials = [set(re.findall(r"trial (\d+) train", world.log(pod))) for pod in pods]
    assert sorted(map(sorted, trials)) == [["0"], ["1"]]
    began = [pod.status.container_statuses[0].state.terminated.started_at for pod in pods]
    ended = [pod.status.container_statuses[0].state.terminated.finished_at for pod in pods]
    assert max(began) < min(ended)


def test_the_status_has_the_table_of_trials(world: World) -> None:
    sweep = world.told.status()["sweep"]
    assert (sweep["trials"], sweep.get("failed", 0), sweep.get("running", 0)) == (2, 0, 0)
    assert sorted(one["number"] for one in sweep["leaders"]) == [0, 1]
    rates = {one["parameters"][0]["value"] for one in sweep["leaders"]}
    assert rates == {"0.001", "0.0002"}
    scores = [float(one["score"]) for one in sweep["leaders"]]
    assert scores == sorted(scores, reverse=True)
    assert sweep["best"] == sweep["leaders"][0]["number"]
