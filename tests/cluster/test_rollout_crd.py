"""The API server takes a rollout, fills in the policy, and keeps and shows its whole status."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import namespaces
import pytest
import yaml
from devcluster import Cluster
from distill_api import names
from distill_api.generate import files
from distill_api.rollout import DistilledModelRolloutSpec
from kubernetes import client
from namespaces import OF

HERE = Path(__file__).parent
VALID: dict[str, Any] = yaml.safe_load((HERE / "valid_rollout.yaml").read_text())
MINIMAL: dict[str, Any] = yaml.safe_load(
    (files.ROOT / "examples" / "rollout" / "minimal.yaml").read_text()
)
STATUS = files.ROOT / "tests" / "contract" / "golden" / "rollout-status.json"


@pytest.fixture
def objects(api: client.ApiClient) -> client.CustomObjectsApi:
    return client.CustomObjectsApi(api)


@pytest.fixture
def stored(
    crd: None, objects: client.CustomObjectsApi, shared_space: str
) -> Iterator[dict[str, Any]]:
    """Yield the valid rollout as the API server stored it."""
    body = {**VALID, "spec": {**VALID["spec"], "paused": True}}
    with namespaces.stored(objects, names.ROLLOUT_PLURAL, shared_space, body) as made:
        yield made


def _change(objects: client.CustomObjectsApi, stored: dict[str, Any], spec: dict[str, Any]) -> Any:
    return namespaces.changed(objects, names.ROLLOUT_PLURAL, stored, spec)


@pytest.mark.parametrize("body", [VALID, MINIMAL], ids=["valid", "minimal"])
def test_the_api_servers_defaults_are_the_models_defaults(
    crd: None, objects: client.CustomObjectsApi, body: dict[str, Any]
) -> None:
    """The operator reads the stored object: its own defaults must add nothing to it."""
    made = objects.create_namespaced_custom_object(
        *OF, "default", names.ROLLOUT_PLURAL, body, dry_run="All", field_validation="Strict"
    )
    known = DistilledModelRolloutSpec.model_validate(body["spec"])
    assert known.model_dump(mode="json", by_alias=True, exclude_none=True) == made["spec"]
    assert made["spec"]["metrics"][1]["latency"]["limitMilliseconds"] == 150
    assert made["spec"]["teacherRetention"] == {"seconds": 172_800, "weightPerMille": 1}


FIXED = [
    ("component", {"component": "Reranker"}),
    ("gateway", {"gateway": {"route": {"hostnames": ["other.example.com"]}}}),
    ("gateway", {"gateway": {"route": None, "httpRoute": {"name": "search"}}}),
]


@pytest.mark.parametrize(("field", "change"), FIXED, ids=["component", "hostname", "route"])
def test_where_traffic_is_split_cannot_change(
    stored: dict[str, Any], objects: client.CustomObjectsApi, field: str, change: dict[str, Any]
) -> None:
    with pytest.raises(client.ApiException) as refusal:
        _change(objects, stored, change)
    assert refusal.value.status == 422
    assert f"spec.{field} cannot change after creation" in str(refusal.value.body)
    assert "create a new rollout" in str(refusal.value.body)


CHANGEABLE: list[dict[str, Any]] = [
    {"artifact": {"jobRef": {"name": "minilm-smaller"}}},
    {"teacher": {"deployment": {"replicas": 4}}},
    {"student": {"deployment": {"replicas": 4}}},
    {"schedule": {"steps": [{"weight": 20}, {"weight": 100}]}},
    {"schedule": {"steps": None, "preset": "ThirtyDays"}},
    {"metrics": [{"name": "errors", "errors": {"limit": 0.02}}]},
    {"evidence": {"alpha": 0.02}},
    {"policies": {"noData": "Rollback"}},
    {"paused": False},
    {"promote": "2"},
    {"promote": "Full"},
    {"abort": True},
    {"retry": "again"},
    {"finalize": True},
    {"deletionPolicy": "HandBack"},
    {"teacherRetention": {"seconds": 3600}},
]


@pytest.mark.parametrize("change", CHANGEABLE, ids=[json.dumps(c)[1:40] for c in CHANGEABLE])
def test_everything_else_can_change(
    stored: dict[str, Any], objects: client.CustomObjectsApi, change: dict[str, Any]
) -> None:
    after = _change(objects, stored, change)
    assert after["metadata"]["generation"] == stored["metadata"]["generation"] + 1


def test_an_unchanged_rollout_keeps_its_generation(
    stored: dict[str, Any], objects: client.CustomObjectsApi
) -> None:
    after = _change(objects, stored, VALID["spec"])
    assert after["metadata"]["generation"] == stored["metadata"]["generation"]


def test_a_whole_status_comes_back_as_it_was_written_and_is_shown(
    stored: dict[str, Any], objects: client.CustomObjectsApi, cluster: Cluster
) -> None:
    meta, golden = stored["metadata"], json.loads(STATUS.read_text())
    after = objects.replace_namespaced_custom_object_status(
        *OF, meta["namespace"], names.ROLLOUT_PLURAL, meta["name"], {**stored, "status": golden}
    )
    assert after["status"] == golden
    assert after["spec"] == stored["spec"]
    one = ("-n", meta["namespace"], f"drollout/{meta['name']}")
    row = cluster.kubectl("get", *one, "--no-headers").split()
    assert row[:7] == [meta["name"], "Progressing", "4/5", "50%", "49.8%", "Undecided", "47m10s"]
    wide = cluster.kubectl("get", *one, "-o", "wide", "--no-headers")
    for cell in ("minilm-teacher:8080", golden["artifact"]["uri"], "StepDone"):
        assert cell in wide
    cluster.kubectl("wait", *one, "--for=condition=MetricsAvailable", "--timeout=10s")
    cluster.kubectl("wait", *one, "--for=jsonpath={.status.phase}=Progressing", "--timeout=10s")


BAD_STATUS: list[tuple[str, dict[str, Any]]] = [
    ("status.phase", {"phase": "Done"}),
    ("status.weight.desired", {"weight": {"desired": 1001, "verified": True}}),
    ("status.transition.reason", {"transition": {"reason": "Because"}}),
    ("status.metrics[0].student.estimate", {"metrics": [{"student": {"estimate": "NaN"}}]}),
]


@pytest.mark.parametrize(("place", "status"), BAD_STATUS, ids=[place for place, _ in BAD_STATUS])
def test_a_status_that_says_something_impossible_is_refused(
    stored: dict[str, Any], objects: client.CustomObjectsApi, place: str, status: dict[str, Any]
) -> None:
    meta = stored["metadata"]
    with pytest.raises(client.ApiException) as refusal:
        objects.replace_namespaced_custom_object_status(
            *OF, meta["namespace"], names.ROLLOUT_PLURAL, meta["name"], {**stored, "status": status}
        )
    assert place in str(refusal.value.body)


def test_rollouts_can_be_selected_by_component(
    stored: dict[str, Any], objects: client.CustomObjectsApi, shared_space: str
) -> None:
    for selector, count in (("spec.component=Embedding", 1), ("spec.component=Reranker", 0)):
        listed = objects.list_namespaced_custom_object(
            *OF, shared_space, names.ROLLOUT_PLURAL, field_selector=selector
        )
        assert len(listed["items"]) == count


def test_kubectl_shows_the_columns(
    cluster: Cluster, stored: dict[str, Any], shared_space: str
) -> None:
    words = ("get", "drollout", "-n", shared_space)
    assert cluster.kubectl(*words).split("\n")[0].split() == [
        "NAME",
        "PHASE",
        "STEP",
        "WEIGHT",
        "SHARE",
        "VERDICT",
        "DECISION",
        "AGE",
    ]
    wide = cluster.kubectl(*words, "-o", "wide").split("\n")[0].split()
    assert {"TEACHER", "ARTIFACT", "REASON"} < set(wide)
    assert stored["metadata"]["name"] in cluster.kubectl("get", "distillation", "-n", shared_space)
