"""Traffic moves on a real gateway: on evidence, back within seconds, without a request lost."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import moving
import pytest
from devcluster import Cluster, gateways, traffic
from moving import NAME, Scene
from operators import Operator, eventually

pytestmark = [pytest.mark.usefixtures("crd"), pytest.mark.slow]
RATE = 40.0
QUICK = {"name": "errors", "errors": {"fine": 0.005, "limit": 0.05}}


@pytest.fixture(scope="module")
def models(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> moving.Models:
    return moving.push(cluster.registry, tmp_path_factory.mktemp("models"))


@pytest.fixture
def scene(cluster: Cluster, space: str, models: moving.Models) -> Scene:
    return Scene(cluster, space, gateways.make(cluster, space), models)


@pytest.fixture
def operator(cluster: Cluster, space: str, tmp_path: Path) -> Iterator[Operator]:
    image = {"KUBEDISTILL_SERVER_IMAGE": moving.server_image(cluster)}
    with Operator(cluster.kubeconfig, space, tmp_path / "operator.log", more=image) as replica:
        yield replica


def _conditions(status: dict[str, Any]) -> dict[str, str]:
    return {entry["type"]: entry["status"] for entry in status["conditions"]}


def test_a_good_student_gets_all_traffic_and_no_request_is_lost(
    scene: Scene, operator: Operator
) -> None:
    steps = [{"weight": w, "minSoakSeconds": 5, "minRequests": 50} for w in (20, 60, 100)]
    scene.roll_out(schedule={"steps": steps, "minReadySeconds": 1}, metrics=[QUICK])
    scene.answers()
    with traffic.flowing([scene.request], per_second=RATE) as flow:
        scene("wait", f"drollout/{NAME}", "--for=condition=Promoted", "--timeout=300s")
        time.sleep(2)
    assert not [outcome for outcome in flow.outcomes if not outcome.good]
    status = scene.status()
    assert status["weight"]["desired"] == 999
    moved = [entry["weight"] for entry in status["history"] if entry["to"] == "Progressing"]
    # The teacher is never wholly without traffic while it is kept.
    assert moved == [200, 600, 999]
    columns = scene("get", "drollout", NAME)
    assert "Promoted" in columns
    assert "99.9%" in columns
    described = scene("describe", "drollout", NAME)
    assert "errors: " in described, described


def test_a_student_that_fails_half_is_back_at_nothing_and_told_with_numbers(
    scene: Scene, operator: Operator
) -> None:
    scene.roll_out()
    scene.answers()
    with traffic.flowing([scene.request], per_second=RATE) as flow:
        scene.serves_at(500)
        time.sleep(3)
        scene.fail()
        status = scene.serves_at(0, within=60)
        time.sleep(3)
    failed = [outcome for outcome in flow.outcomes if not outcome.good]
    assert failed
    assert {outcome.status for outcome in failed} == {500}
    assert status["phase"] in {"RollingBack", "RolledBack"}
    status = scene.reaches("rolled back", lambda found: found["phase"] == "RolledBack")
    assert _conditions(status)["RolledBack"] == "True"
    assert status["weight"] == {**status["weight"], "desired": 0, "observed": 0, "verified": True}
    (errors,) = status["metrics"]
    assert "of the requests failed" in status["message"] or "failed" in errors["message"]


def test_a_student_whose_pods_die_bears_nothing_at_once(scene: Scene, operator: Operator) -> None:
    scene.roll_out()
    scene.answers()
    with traffic.flowing([scene.request], per_second=RATE):
        scene.serves_at(500)
        scene("delete", "pod", scene.pod("student"), "--grace-period=0", "--force")
        eventually(lambda: scene.weights() == [1000, 0], "no weight", within=30)
