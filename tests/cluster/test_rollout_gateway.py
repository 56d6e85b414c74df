"""Traffic moves on a real gateway: on evidence, back within seconds, without a request lost."""

import time
from pathlib import Path
from typing import Any

import moving
import pytest
from devcluster import Cluster, traffic
from moving import NAME, Scene
from operators import Operator, eventually

pytestmark = [pytest.mark.usefixtures("crd"), pytest.mark.slow]
RATE = 40.0
STEPS = [{"weight": w, "minSoakSeconds": 5, "minRequests": 50} for w in (20, 60, 100)]
QUICK = {"name": "errors", "errors": {"fine": 0.005, "limit": 0.05}}


@pytest.fixture(scope="module")
def models(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> moving.Models:
    return moving.push(cluster.registry, tmp_path_factory.mktemp("models"))


def _conditions(status: dict[str, Any]) -> dict[str, str]:
    return {entry["type"]: entry["status"] for entry in status["conditions"]}


def test_a_good_student_gets_all_traffic_and_keeps_it_when_its_rollout_is_deleted(
    scene: Scene, serving_operator: Operator
) -> None:
    scene.roll_out(schedule={"steps": STEPS, "minReadySeconds": 1}, metrics=[QUICK])
    scene.answers()
    with traffic.flowing([scene.request], per_second=RATE) as flow:
        scene("wait", f"drollout/{NAME}", "--for=condition=Promoted", "--timeout=300s")
        status, columns = scene.status(), scene("get", "drollout", NAME)
        described = scene("describe", "drollout", NAME)
        scene("delete", "drollout", NAME, "--timeout=120s")
        time.sleep(5)
    assert not [outcome for outcome in flow.outcomes if not outcome.good]
    # The teacher is never wholly without traffic while it is kept.
    assert _steps(status) == [200, 600, 999]
    assert status["weight"]["desired"] == 999
    assert "Promoted" in columns
    assert "99.9%" in columns
    assert "errors: " in described, described
    _serves_on(scene)


def _steps(status: dict[str, Any]) -> list[int]:
    return [entry["weight"] for entry in status["history"] if entry["to"] == "Progressing"]


def _serves_on(scene: Scene) -> None:
    """Check that what serves has no owner that could take it away."""
    assert scene.weights() == [0, 1000]
    for child in (f"deployment/{NAME}-student", f"service/{NAME}-student", f"httproute/{NAME}"):
        assert "ownerReferences" not in scene.get(child)["metadata"]
    assert scene.get("pods", "-l", "app.kubernetes.io/component=student")["items"]


def test_an_operator_killed_at_every_transition_neither_skips_nor_repeats_a_step(
    scene: Scene, serving_operator: Operator
) -> None:
    scene.roll_out(schedule={"steps": STEPS, "minReadySeconds": 1}, metrics=[QUICK])
    scene.answers()
    killed: set[int] = set()
    with traffic.flowing([scene.request], per_second=RATE) as flow:
        while (status := scene.status()).get("phase") != "Promoted":
            number = status.get("transition", {}).get("id", 0)
            if number not in killed:
                killed.add(number)
                serving_operator.kill()
                serving_operator.start()
            time.sleep(0.2)
            assert len(killed) < 20, status["message"]
    assert not [outcome for outcome in flow.outcomes if not outcome.good]
    assert len(killed) >= 4
    assert _steps(status) == [200, 600, 999]
    assert [entry["id"] for entry in status["history"]] == list(range(1, 7))
    assert status["epoch"] == 1


def test_a_student_that_fails_half_is_back_at_nothing_and_told_with_numbers(
    scene: Scene, serving_operator: Operator
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
    status = scene.is_back()
    assert _conditions(status)["RolledBack"] == "True"
    assert status["weight"] == {**status["weight"], "desired": 0, "observed": 0, "verified": True}
    (errors,) = status["metrics"]
    assert "of the requests failed" in status["message"] or "failed" in errors["message"]


def test_a_student_whose_pods_die_bears_nothing_at_once(
    scene: Scene, serving_operator: Operator
) -> None:
    scene.roll_out()
    scene.answers()
    with traffic.flowing([scene.request], per_second=RATE):
        scene.serves_at(500)
        scene("delete", "pod", scene.pod("student"), "--grace-period=0", "--force")
        eventually(lambda: scene.weights() == [1000, 0], "no weight", within=30)


def test_users_queries_are_mirrored_and_answered_by_both_arms(
    scene: Scene, serving_operator: Operator, tmp_path: Path
) -> None:
    queries = moving.push_queries(scene.cluster.registry, tmp_path)
    agreement = {"name": "agreement", "quality": {"source": "Mirrored"}}
    scene.roll_out(
        metrics=[QUICK, agreement],
        prober={
            "queries": {"uri": queries, "plainHttp": True},
            "mirror": {"percent": 50},
            "queriesPerMinute": 600,
        },
    )
    asked = [scene.asks(" ".join(words)) for words in moving.texts(400)]
    scene.answers()
    with traffic.flowing(asked, per_second=RATE) as flow:
        status = scene.reaches("pairs", lambda found: _pairs(found) >= 50, within=180)
    assert not [outcome for outcome in flow.outcomes if not outcome.good]
    # The same model answers on both sides.
    student = status["metrics"][1]["student"]
    assert float(student["estimate"]) == pytest.approx(1)
    assert _pairs(status) <= 400, "a text that comes again is no new sample"


def _pairs(status: dict[str, Any]) -> int:
    found = {metric["name"]: metric for metric in status.get("metrics", [])}
    counted: int = found.get("agreement", {}).get("student", {}).get("count", 0)
    return counted
