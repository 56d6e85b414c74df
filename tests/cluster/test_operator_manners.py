"""The operator among other users of the API server: one leader, no needless writes, no traces."""

import base64
import json
import ssl
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from devcluster import Cluster
from namespaces import Namespace
from operators import Operator, eventually

VALID = Path(__file__).with_name("valid_object.yaml")
pytestmark = pytest.mark.usefixtures("crd")


class Place(Namespace):
    """A namespace with jobs in it."""

    def make(self, name: str, **spec: Any) -> None:
        body = yaml.safe_load(VALID.read_text())
        body["metadata"]["name"] = name
        body["spec"] |= spec
        self("apply", "-f", "-", stdin=json.dumps(body))

    def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get("djob", name).get("status", {})
        return found

    def jobs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("jobs")["items"]
        return found


@pytest.fixture
def place(cluster: Cluster, space: str) -> Place:
    return Place(cluster, space)


def test_a_job_gets_its_claims_first_stage_and_conditions(place: Place, operator: Operator) -> None:
    place.make("small")

    job = eventually(lambda: next(iter(place.jobs()), None), "a stage's Job", within=30)

    assert job["metadata"]["labels"]["kubedistill.io/stage"] == "Label"
    claims = {claim["metadata"]["name"] for claim in place.get("pvc")["items"]}
    assert "kubedistill-labels" in claims
    assert len(claims) == 2
    conditions = eventually(lambda: place.status("small").get("conditions"), "status", within=10)
    assert {c["type"]: c["status"] for c in conditions}["Reconciling"] == "True"
    assert {c["observedGeneration"] for c in conditions} == {1}


def test_nothing_of_kopf_is_left_on_any_object(place: Place, operator: Operator) -> None:
    place.make("small")
    eventually(place.jobs, "a stage's Job", within=30)
    eventually(lambda: place.status("small"), "a status", within=10)

    bodies = [place.get("djob", "small"), *place.jobs(), *place.get("pods")["items"]]

    assert len(bodies) >= 2
    for body in bodies:
        assert "kopf" not in json.dumps(body["metadata"])
    assert "finalizers" not in bodies[0]["metadata"]


def test_at_rest_it_writes_nothing_and_the_same_yaml_again_changes_nothing(
    place: Place, operator: Operator
) -> None:
    place.make("resting", suspend=True)
    eventually(lambda: place.status("resting").get("phase"), "a status", within=30)
    time.sleep(3)
    before, version = operator.writes(), _versions(place)
    assert before >= 1

    place.make("resting", suspend=True)
    time.sleep(12)

    assert operator.writes() == before
    assert _versions(place) == version


def _versions(place: Place) -> dict[str, str]:
    bodies = [place.get("djob", "resting"), *place.jobs(), *place.get("pvc")["items"]]
    return {b["metadata"]["name"]: b["metadata"]["resourceVersion"] for b in bodies}


def test_suspending_stops_the_stages_job_and_resuming_lets_it_go_on(
    place: Place, operator: Operator
) -> None:
    place.make("small")
    eventually(place.jobs, "a stage's Job", within=30)

    place("patch", "djob", "small", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    eventually(lambda: all(j["spec"]["suspend"] for j in place.jobs()), "suspended", within=20)
    made = {job["metadata"]["uid"] for job in place.jobs()}
    assert len(made) == 1

    place("patch", "djob", "small", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    eventually(lambda: not any(j["spec"]["suspend"] for j in place.jobs()), "resumed", within=20)
    assert {job["metadata"]["uid"] for job in place.jobs()} == made


def test_a_deleted_job_takes_its_children_along_but_not_the_shared_labels(
    place: Place, operator: Operator
) -> None:
    place.make("small")
    eventually(place.jobs, "a stage's Job", within=30)

    place("delete", "djob", "small", "--timeout=30s")

    eventually(lambda: not place.jobs(), "the Jobs are gone", within=30)
    eventually(
        lambda: (
            [c["metadata"]["name"] for c in place.get("pvc")["items"]] == ["kubedistill-labels"]
        ),
        "only the shared claim is left",
        within=60,
    )


def test_a_quota_that_forbids_a_claim_is_told_in_a_condition_and_lifted_later(
    place: Place, operator: Operator
) -> None:
    place("create", "quota", "none", "--hard=persistentvolumeclaims=0")
    eventually(
        lambda: place.get("quota", "none").get("status", {}).get("hard"), "a quota", within=20
    )
    place.make("small")

    refused = eventually(
        lambda: next(
            (
                c
                for c in place.status("small").get("conditions", [])
                if c["reason"] == "ChildRefused"
            ),
            None,
        ),
        "a condition",
        within=30,
    )
    assert "exceeded quota: none" in refused["message"]

    place("delete", "quota", "none")
    eventually(lambda: len(place.get("pvc")["items"]) == 2, "claims after all", within=90)


def test_a_second_replica_takes_over_from_a_killed_leader_and_from_one_that_leaves(
    cluster: Cluster, place: Place, tmp_path: Path
) -> None:
    first = Operator(cluster.kubeconfig, place.name, tmp_path / "first.log", identity="first")
    second = Operator(cluster.kubeconfig, place.name, tmp_path / "second.log", identity="second")
    with first, second:
        eventually(lambda: first.leading, "the first leads", within=10)
        assert not second.leading

        first.kill()
        killed = time.monotonic()
        eventually(lambda: second.leading, "the second leads", within=20)
        assert time.monotonic() - killed >= 5, "the lease must be waited for"
        place.make("small")
        eventually(place.jobs, "a stage's Job by the second", within=20)

        first.start()
        second.stop()
        eventually(lambda: first.leading, "a lease given up is taken at once", within=6)


def test_progress_is_taken_only_from_the_pod_that_the_token_is_bound_to(
    place: Place, operator: Operator
) -> None:
    place.make("small")
    pods = eventually(lambda: place.get("pods")["items"], "the stage's pod", within=60)
    bind = ("--bound-object-kind=Pod", f"--bound-object-name={pods[0]['metadata']['name']}")
    audience = "--audience=progress.kubedistill.io"
    good = place("create", "token", "default", audience, *bind).strip()
    unbound = place("create", "token", "default", audience).strip()
    other = place("create", "token", "default", *bind).strip()
    body = {"trainerStatus": {"progressPercentage": 42, "metrics": [{"name": "a", "value": "1"}]}}
    push = partial(_push, _authority(place), operator.progress_port)

    assert push(good, body)[0] == 200
    assert "not bound to a pod" in push(unbound, body)[1]
    assert "audience" in push(other, body)[1]
    assert "Authorization: Bearer" in push("", body)[1]
    too_much = {"trainerStatus": {"progressPercentage": 101}}
    code, sentence = push(good, too_much)
    assert (code, "progressPercentage" in sentence) == (422, True)
    # Many at a time, as the allowance grows: one by one, a slow machine never spends it.
    with ThreadPoolExecutor(20) as pool:
        pushed = pool.map(lambda _: push(good, body)[0], range(60))
    assert set(pushed) == {200, 429}
    assert good not in operator.log.read_text()


def _authority(place: Place) -> str:
    secret = place.get("secret", "kubedistill-progress-tls")
    return base64.b64decode(secret["data"]["ca.crt"]).decode()


def _push(authority: str, port: int, token: str, body: object) -> tuple[int, str]:
    request = urllib.request.Request(
        f"https://127.0.0.1:{port}/v1/progress",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    context = ssl.create_default_context(cadata=authority)
    try:
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, str(json.loads(error.read())["message"])
