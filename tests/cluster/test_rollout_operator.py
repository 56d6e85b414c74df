"""The operator makes what a rollout needs and guards its route, on the real API server.

No Gateway is made here: what it does with the route belongs to the tests with one.
"""

import json
from typing import Any, Final

import pytest
from devcluster import Cluster
from namespaces import Namespace
from operators import Operator, eventually

DIGEST: Final = "sha256:" + "a" * 64
IMAGE: Final = "registry.invalid/server:none"
pytestmark = pytest.mark.usefixtures("crd")


class Place(Namespace):
    """A namespace with a rollout in it."""

    def get(self, *what: str) -> Any:
        return super().get(*what, "--show-managed-fields")

    def roll_out(self, **spec: Any) -> None:
        arm = {"deployment": {"image": IMAGE, "replicas": 1}}
        model = {"uri": f"oci://registry.invalid/teacher@{DIGEST}"}
        wanted = {
            "component": "Embedding",
            "artifact": {"uri": "oci://registry.invalid/student", "digest": DIGEST},
            "teacher": {"deployment": {**arm["deployment"], "model": model}},
            "student": arm,
            "gateway": {"route": {"parentRefs": [{"name": "edge"}]}},
        }
        body = {
            "apiVersion": "kubedistill.io/v1alpha1",
            "kind": "DistilledModelRollout",
            "metadata": {"name": "mini"},
            "spec": wanted | spec,
        }
        self("apply", "-f", "-", stdin=json.dumps(body))

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("drollout", "mini").get("status", {})
        return found

    def reaches(self, phase: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = self.status()
            return found if found.get("phase") == phase else None

        return eventually(look, f"{phase}, not {self.status()}", within=60)

    def weights(self) -> list[int]:
        rule = self.get("httproute", "mini")["spec"]["rules"][0]
        return [backend["weight"] for backend in rule["backendRefs"]]


@pytest.fixture
def place(cluster: Cluster, space: str) -> Place:
    return Place(cluster, space)


def test_arms_services_and_route_are_made_and_then_left_alone(
    place: Place, operator: Operator
) -> None:
    place.roll_out()
    status = place.reaches("Preparing")
    eventually(lambda: place.get("httproutes")["items"], "the route", within=30)

    assert place.weights() == [1000, 0]
    for kind in ("deployment", "service", "poddisruptionbudget"):
        for arm in ("teacher", "student"):
            made = place.get(kind, f"mini-{arm}")
            managers = {(m["manager"], m["operation"]) for m in made["metadata"]["managedFields"]}
            assert ("kubedistill", "Apply") in managers
    assert status["conditions"]
    assert "kubedistill.io/traffic" in place.get("drollout", "mini")["metadata"]["finalizers"]

    children = ("deployment/mini-student", "service/mini-student", "pdb/mini-student")
    versions = {child: _version(place, child) for child in children}
    eventually(lambda: _passes(operator) > 5, "passes while it prepares", within=60)
    # Passes go on; what is as wanted is not written again.
    later = operator.metric("kubedistill_api_call_seconds_count", verb="PATCH", resource="services")
    assert later <= 2
    assert versions == {child: _version(place, child) for child in children}


def _version(place: Place, what: str) -> str:
    body = place.get(what)
    return str(body["metadata"].get("generation") or body["metadata"]["resourceVersion"])


def _passes(operator: Operator) -> float:
    return operator.metric("kubedistill_reconcile_seconds_count", result="ok")


def test_somebody_elses_weights_are_taken_back_by_a_patch_that_touches_nothing_else(
    place: Place, operator: Operator
) -> None:
    place.roll_out()
    place.reaches("Preparing")
    eventually(lambda: place.get("httproutes")["items"], "the route", within=30)
    theirs = [
        {"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": 500},
        {"op": "replace", "path": "/spec/rules/0/backendRefs/1/weight", "value": 500},
        {"op": "add", "path": "/spec/rules/-", "value": {"name": "other"}},
    ]
    place("patch", "httproute", "mini", "--type=json", "-p", json.dumps(theirs))

    eventually(lambda: place.weights() == [1000, 0] or None, "weights as decided", within=30)

    rules = place.get("httproute", "mini")["spec"]["rules"]
    assert [rule["name"] for rule in rules] == ["model", "other"]


def test_a_service_of_that_name_is_not_taken_over_and_the_refusal_is_told(
    place: Place, operator: Operator
) -> None:
    place("create", "service", "clusterip", "mini-student", "--tcp=80")
    place.roll_out()

    def told() -> bool:
        events = place.get("events.events.k8s.io")["items"]
        return any(e["reason"] == "ChildRefused" and "does not belong" in e["note"] for e in events)

    eventually(told, "an event about the Service", within=60)
    labels = place.get("service", "mini-student")["metadata"].get("labels", {})
    assert "kubedistill.io/rollout-uid" not in labels


def test_a_deleted_rollout_that_no_gateway_obeys_goes_after_its_deadline_and_says_so(
    place: Place, operator: Operator
) -> None:
    place.roll_out()
    place.reaches("Preparing")
    place("delete", "drollout", "mini", "--timeout=180s")

    assert place.get("drollout")["items"] == []
    notes = [event["note"] for event in place.get("events.events.k8s.io")["items"]]
    assert [note for note in notes if note.startswith("Gave up handing traffic back")]
