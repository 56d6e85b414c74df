"""Whatever is killed, a job finishes, repeats no complete stage, and makes the same weights."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import images
import pytest
import story
from devcluster import Cluster
from distill_trainer.publishing.pull import pull
from kubernetes import client
from operators import Operator, eventually
from story import Story
from urllib3.exceptions import HTTPError

STAGES = ("Label", "Prepare", "Train", "Evaluate", "Publish")
FINISH_SECONDS = 900.0
STEPS = 3000
pytestmark = [pytest.mark.usefixtures("crd"), pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class World:
    """What every run of this module has in common."""

    cluster: Cluster
    api: client.ApiClient
    image: str
    base: str

    def operator(self, namespace: str, log: Path) -> Operator:
        return Operator(self.cluster.kubeconfig, namespace, log, image=self.image, host=story.HOST)

    def begin(self, namespace: str) -> Story:
        told = Story(self.api, namespace, "small")
        target = f"{self.cluster.registry}/{namespace}/small"
        told.begin(story.spec(self.base, target, steps=STEPS, cpu="500m"))
        return told


@pytest.fixture(scope="module")
def world(
    cluster: Cluster, api: client.ApiClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("inputs")
    story.write_teacher(folder)
    story.write_corpus(folder / "corpus.jsonl", 150)
    image = images.image(cluster, "trainer")
    with story.served(folder) as base:
        yield World(cluster, api, image, base)


@pytest.fixture(scope="module")
def undisturbed(world: World, shared_space: str, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Return a run that nobody disturbed."""
    with world.operator(shared_space, tmp_path_factory.mktemp("undisturbed") / "operator.log"):
        told = world.begin(shared_space)
        finish(told)
    return told


def finish(told: Story) -> None:
    """Wait for a good end."""
    eventually(lambda: patiently(told.finished), told.describe(), within=FINISH_SECONDS)
    assert told.condition("Succeeded")["status"] == "True", told.describe()


def patiently[T](look: Callable[[], T]) -> T | None:
    """Look; None while the API server does not answer."""
    try:
        return look()
    except (HTTPError, OSError, client.ApiException):
        return None


def weights(told: Story) -> str:
    digest: str = told.status()["artifact"]["weightsDigest"]
    return digest


def assert_nothing_ran_twice(told: Story, *, disturbed: tuple[str, ...] = ()) -> None:
    """Each stage had one Job; the stages that were left alone had one pod."""
    for stage in STAGES:
        assert told.stage(stage)["state"] == "Complete", told.describe()
        assert told.stage(stage)["attempt"] == 0, told.describe()
        assert len(told.jobs(stage)) == 1
        if stage not in disturbed:
            assert len(told.pods(stage)) == 1, told.describe()


def test_an_undisturbed_job_is_published_with_progress_on_the_way(undisturbed: Story) -> None:
    assert_nothing_ran_twice(undisturbed)
    status = undisturbed.status()
    assert status["artifact"]["uri"].startswith("oci://")
    assert status["evaluation"]["verdict"] in {"Passed", "Missed"}
    assert weights(undisturbed).startswith("sha256:")


def test_a_second_job_takes_over_the_labels_and_goes_when_its_time_is_over(
    world: World, undisturbed: Story, tmp_path: Path
) -> None:
    space = undisturbed.namespace
    told = Story(world.api, space, "again")
    again = story.spec(world.base, f"{world.cluster.registry}/{space}/again", steps=25)
    with world.operator(space, tmp_path / "operator.log"):
        told.begin(again)
        finish(told)
        assert told.stage("Label")["reused"] is True, told.describe()
        published = told.status()["artifact"]["uri"]
        assert (len(told.jobs()), len(told.claims())) == (len(STAGES), 1)

        told.change({"ttlSecondsAfterFinished": 0})
        eventually(told.gone, "the job and its pods, Jobs and claim are deleted", within=120)

    pull(published, tmp_path / "artifact", plain_http=True)
    assert list((tmp_path / "artifact").rglob("*.safetensors"))
    assert len(undisturbed.claims()) == 1


@dataclass
class Fault:
    """Something that happens once, as soon as its moment has come."""

    what: str
    moment: Callable[[], bool]
    strike: Callable[[], None]
    struck: bool = field(default=False)

    def look(self) -> None:
        if not self.struck and patiently(self.moment):
            self.struck = True
            self.strike()


def run_with(told: Story, faults: list[Fault]) -> None:
    """Let the job run while the faults strike, each at its moment."""
    end = time.monotonic() + FINISH_SECONDS
    while not patiently(told.finished):
        assert time.monotonic() < end, told.describe()
        for fault in faults:
            fault.look()
        time.sleep(0.2)
    missed = [fault.what for fault in faults if not fault.struck]
    assert not missed, f"these moments never came: {missed}"
    assert told.condition("Succeeded")["status"] == "True", told.describe()


def test_an_operator_killed_at_every_boundary_and_in_between_loses_nothing(
    world: World, undisturbed: Story, space: str, tmp_path: Path
) -> None:
    operator = world.operator(space, tmp_path / "operator.log")

    def again() -> None:
        operator.kill()
        operator.start()

    with operator:
        told = world.begin(space)
        between = [
            Fault("in the middle of label", lambda: bool(told.running("Label")), again),
            Fault("in the middle of train", lambda: told.progress("Train") >= 20, again),
        ]
        at = [Fault(f"the end of {s}", lambda s=s: told.complete(s), again) for s in STAGES[:-1]]
        run_with(told, [*at, *between])

    assert_nothing_ran_twice(told)
    assert weights(told) == weights(undisturbed)


def test_a_deleted_pod_an_absent_api_server_and_a_lost_node_lose_nothing(
    world: World, undisturbed: Story, space: str, tmp_path: Path
) -> None:
    cluster = world.cluster
    if cluster.paths is None:
        pytest.skip("faults are for the development cluster")
    told = Story(world.api, space, "small")
    lost: set[str] = set()

    def training() -> client.V1Pod | None:
        """Return the pod that trains, unless a fault has struck it already."""
        return next((p for p in told.running("Train") if p.metadata.name not in lost), None)

    def strike(fault: Callable[[client.V1Pod], None]) -> Callable[[], None]:
        def act() -> None:
            pod = training()
            assert pod is not None
            lost.add(pod.metadata.name)
            fault(pod)

        return act

    def delete(pod: client.V1Pod) -> None:
        told.core.delete_namespaced_pod(pod.metadata.name, space)

    def lose_node(pod: client.V1Pod) -> None:
        cluster.kill_node(pod.spec.node_name)
        time.sleep(10)
        cluster.start_node(pod.spec.node_name)

    def stop_api_server() -> None:
        cluster.stop("apiserver")
        time.sleep(20)
        cluster.start("apiserver")

    def at(percent: int) -> Callable[[], bool]:
        return lambda: training() is not None and told.progress("Train") >= percent

    with world.operator(space, tmp_path / "operator.log"):
        world.begin(space)
        run_with(
            told,
            [
                Fault("the API server", lambda: bool(told.running("Label")), stop_api_server),
                Fault("a pod of train", at(5), strike(delete)),
                Fault("the node", lambda: bool(lost) and at(25)(), strike(lose_node)),
            ],
        )

    assert_nothing_ran_twice(told, disturbed=("Train",))
    assert told.stage("Train")["failures"] >= 1
    assert weights(told) == weights(undisturbed)
