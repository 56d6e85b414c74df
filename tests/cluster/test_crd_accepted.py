"""The API server takes the definition, fills in defaults and lets only the right fields change."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import namespaces
import pytest
import yaml
from devcluster import Cluster
from distill_api import names
from distill_api.generate import crd as definition
from distill_api.generate import files
from distill_api.generate.kinds import KINDS, Kind
from distill_api.job import DistillationJobSpec
from kubernetes import client
from namespaces import OF

VALID: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "valid_object.yaml").read_text())
GOLDEN = files.ROOT / "tests" / "contract" / "golden"
SHORT = {"DistillationJob": "djob", "DistilledModelRollout": "drollout"}
EXAMPLES = sorted((files.ROOT / "examples").rglob("*.yaml"))


@pytest.fixture
def jobs(api: client.ApiClient) -> client.CustomObjectsApi:
    return client.CustomObjectsApi(api)


@pytest.fixture
def stored(crd: None, jobs: client.CustomObjectsApi, shared_space: str) -> Iterator[dict[str, Any]]:
    """Yield the valid object as the API server stored it, suspended so that nobody works on it."""
    body = json.loads(json.dumps(VALID))
    body["spec"]["suspend"] = True
    with namespaces.stored(jobs, names.JOB_PLURAL, shared_space, body) as made:
        yield made


def _change(jobs: client.CustomObjectsApi, stored: dict[str, Any], spec: dict[str, Any]) -> Any:
    return namespaces.changed(jobs, names.JOB_PLURAL, stored, spec)


@pytest.mark.parametrize("kind", KINDS, ids=[kind.kind for kind in KINDS])
def test_a_definition_is_established_under_its_names(
    crd: None, api: client.ApiClient, kind: Kind
) -> None:
    found = client.ApiextensionsV1Api(api).read_custom_resource_definition(kind.name)
    conditions = {c.type: c.status for c in found.status.conditions}
    assert conditions["Established"] == conditions["NamesAccepted"] == "True"
    assert conditions.get("NonStructuralSchema") is None
    assert found.status.accepted_names.short_names == [SHORT[kind.kind]]


def test_the_stored_object_states_the_whole_recipe(stored: dict[str, Any]) -> None:
    spec = stored["spec"]
    assert spec["training"]["optimizer"]["learningRate"] == 2e-5
    assert spec["training"]["checkpointSteps"] == 500
    assert spec["data"]["splits"] == {"train": 80, "validation": 10, "test": 10}
    assert spec["evaluation"]["onMissedGate"] == "Stop"
    assert spec["workspace"]["labelCache"] == {"size": "10Gi", "disabled": False}
    assert spec["podTemplate"]["resources"]["limits"] == {"memory": "4Gi"}
    assert spec["recipe"]["embedding"]["contrastive"]["temperature"] == 0.05
    assert "status" not in stored


def test_the_api_servers_defaults_are_the_models_defaults(stored: dict[str, Any]) -> None:
    """Operator and trainer read the stored object: their own defaults must add nothing to it."""
    body = DistillationJobSpec.model_validate({**VALID["spec"], "suspend": True})
    assert body.model_dump(mode="json", by_alias=True, exclude_none=True) == stored["spec"]


FIXED = [
    ("component", {"component": "Reranker"}),
    ("teacher", {"teacher": {"batchSize": 32}}),
    ("student", {"student": {"embeddingDimension": 64}}),
    ("data", {"data": {"maxRecords": 10}}),
    ("recipe", {"recipe": {"embedding": {"mse": {"weight": 0.25}}}}),
    ("training", {"training": {"seed": 7}}),
    ("quantize", {"quantize": {"method": "INT8"}}),
    ("sweep", {"sweep": {"parameters": [{"path": "training.seed", "values": ["1"]}]}}),
    ("evaluation", {"evaluation": {"onMissedGate": "Publish"}}),
    ("publish", {"publish": [{"pvc": {"claimName": "models"}}]}),
    ("workspace", {"workspace": {"size": "20Gi"}}),
]


@pytest.mark.parametrize(("field", "change"), FIXED, ids=[field for field, _ in FIXED])
def test_the_recipe_cannot_change(
    stored: dict[str, Any], jobs: client.CustomObjectsApi, field: str, change: dict[str, Any]
) -> None:
    with pytest.raises(client.ApiException) as refusal:
        _change(jobs, stored, change)
    assert refusal.value.status == 422
    assert f"spec.{field} cannot change after creation" in str(refusal.value.body)
    assert "create a new DistillationJob" in str(refusal.value.body)


CHANGEABLE: list[dict[str, Any]] = [
    {"suspend": False},
    {"queueName": "team"},
    {"priorityClassName": "low"},
    {"retries": 5},
    {"stageDeadlineSeconds": 600},
    {"ttlSecondsAfterFinished": 60},
    {"podTemplate": {"resources": {"limits": {"memory": "8Gi", "cpu": 2}}}},
    {"prices": {"gpuHour": 2.5}},
]


@pytest.mark.parametrize("change", CHANGEABLE, ids=["".join(c) for c in CHANGEABLE])
def test_how_it_runs_can_change(
    stored: dict[str, Any], jobs: client.CustomObjectsApi, change: dict[str, Any]
) -> None:
    after = _change(jobs, stored, change)
    assert after["metadata"]["generation"] == stored["metadata"]["generation"] + 1


def test_an_unchanged_object_keeps_its_generation(
    stored: dict[str, Any], jobs: client.CustomObjectsApi
) -> None:
    after = _change(jobs, stored, VALID["spec"])
    assert after["metadata"]["generation"] == stored["metadata"]["generation"]
    assert after["metadata"]["resourceVersion"] == stored["metadata"]["resourceVersion"]


def test_unknown_fields_are_pruned_without_strict_validation(
    stored: dict[str, Any], jobs: client.CustomObjectsApi
) -> None:
    after = _change(jobs, stored, {"surprise": 1})
    assert "surprise" not in after["spec"]


def test_the_status_is_written_apart_from_the_spec(
    stored: dict[str, Any], jobs: client.CustomObjectsApi
) -> None:
    meta = stored["metadata"]
    body = {**stored, "spec": {**stored["spec"], "retries": 9}, "status": {"phase": "Running"}}
    after = jobs.replace_namespaced_custom_object_status(
        *OF, meta["namespace"], names.JOB_PLURAL, meta["name"], body
    )
    assert after["status"] == {"phase": "Running"}  # nothing is added to what was observed
    assert after["spec"] == stored["spec"]
    assert after["metadata"]["generation"] == meta["generation"]


def test_a_whole_status_comes_back_as_it_was_written(
    stored: dict[str, Any], jobs: client.CustomObjectsApi, cluster: Cluster
) -> None:
    """Nothing that the operator reports is pruned, and kubectl shows and waits for it."""
    meta = stored["metadata"]
    golden = json.loads((GOLDEN / "status-succeeded.json").read_text())
    after = jobs.replace_namespaced_custom_object_status(
        *OF, meta["namespace"], names.JOB_PLURAL, meta["name"], {**stored, "status": golden}
    )
    assert after["status"] == golden
    job = ("-n", meta["namespace"], f"djob/{meta['name']}")
    for condition in ("Succeeded", "Ready"):
        cluster.kubectl("wait", *job, f"--for=condition={condition}", "--timeout=10s")
    cluster.kubectl("wait", *job, "--for=jsonpath={.status.stage}=Publish", "--timeout=10s")
    row = cluster.kubectl("get", *job, "-o", "wide", "--no-headers")
    for cell in (
        "Publish 100%",
        "97.3%",
        "3.5x",
        "0.12 USD",
        "JobSucceeded",
        golden["artifact"]["uri"],
    ):
        assert cell in row


def test_a_number_that_is_none_is_refused_in_the_status(
    stored: dict[str, Any], jobs: client.CustomObjectsApi
) -> None:
    meta = stored["metadata"]
    body = {**stored, "status": {"cost": {"amount": "NaN"}}}
    with pytest.raises(client.ApiException) as refusal:
        jobs.replace_namespaced_custom_object_status(
            *OF, meta["namespace"], names.JOB_PLURAL, meta["name"], body
        )
    assert "status.cost.amount" in str(refusal.value.body)


def test_jobs_can_be_selected_by_component_and_stage(
    stored: dict[str, Any], jobs: client.CustomObjectsApi, shared_space: str
) -> None:
    def found(selector: str) -> list[str]:
        listed = jobs.list_namespaced_custom_object(
            *OF, shared_space, names.JOB_PLURAL, field_selector=selector
        )
        return [item["metadata"]["name"] for item in listed["items"]]

    assert found("spec.component=Embedding") == [stored["metadata"]["name"]]
    assert found("spec.component=Reranker") == []
    assert found("status.stage=Train") == []


def test_kubectl_shows_the_columns(
    cluster: Cluster, stored: dict[str, Any], shared_space: str
) -> None:
    words = ("get", "djob", "-n", shared_space)
    assert cluster.kubectl(*words).split("\n")[0].split() == [
        "NAME",
        "STAGE",
        "PROGRESS",
        "RETENTION",
        "ARTIFACT",
        "AGE",
    ]
    wide = cluster.kubectl(*words, "-o", "wide").split("\n")[0].split()
    assert {"SPEEDUP", "COST", "PHASE", "REASON", "PUBLISHED"} < set(wide)
    assert stored["metadata"]["name"] in cluster.kubectl("get", "distillation", "-n", shared_space)


def _members(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    held = schema.get("items", schema)
    for name, member in held.get("properties", {}).items():
        yield f"{path}.{name}", member
        yield from _members(member, f"{path}.{name}")


def _fields(schemas: dict[str, Any]) -> dict[str, str]:
    """Return what is said of each field, at every depth, by its path."""
    tops = ("spec", "status")
    found = (member for top in tops for member in _members(schemas[top], top))
    return {path: member.get("description", "") for path, member in found}


@pytest.mark.parametrize("kind", KINDS, ids=[kind.kind for kind in KINDS])
def test_the_api_server_publishes_a_sentence_for_every_field(
    crd: None, cluster: Cluster, kind: Kind
) -> None:
    """What `kubectl explain` reads: the served OpenAPI document, at every depth."""
    served = json.loads(cluster.kubectl("get", "--raw", f"/openapi/v3/apis/{'/'.join(OF)}"))
    schemas = served["components"]["schemas"]
    (ours,) = (s for name, s in schemas.items() if name.endswith(f".{kind.kind}"))
    expected = set(_fields(definition.root_schema(kind)["properties"]))
    found = _fields(ours["properties"])
    assert len(expected) > 250
    assert {path for path, about in found.items() if about.endswith(".")} == expected


EXPLAINED = [
    ("djob", "Distils a language model"),
    ("djob.spec.teacher.model.uri", "oci://registry/repository"),
    ("djob.spec.recipe.embedding.contrastive.temperature", "0.05 to 0.07"),
    ("djob.spec.publish.oci.repository", "Registry and repository without tag"),
    ("djob.status.stages.progress.percent", "Share that is done"),
    ("djob.status.conditions.reason", "ENUM:"),
    ("drollout", "sequential tests watch"),
    ("drollout.spec.metrics.latency.limitMilliseconds", "ends exactly here"),
    ("drollout.spec.student.deployment.runtime", "OnnxRuntime or Torch"),
    ("drollout.spec.promote", "Full"),
    ("drollout.status.metrics.test.llr", "Log-likelihood ratio"),
    ("drollout.status.record", "Not an interface"),
]


@pytest.mark.parametrize(("path", "sentence"), EXPLAINED, ids=[path for path, _ in EXPLAINED])
def test_kubectl_explains_a_field(crd: None, cluster: Cluster, path: str, sentence: str) -> None:
    text = " ".join(cluster.kubectl("explain", path).split())
    assert sentence in text


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_every_example_is_valid(crd: None, jobs: client.CustomObjectsApi, path: Path) -> None:
    documents = [d for d in yaml.safe_load_all(path.read_text()) if d]
    plurals = {kind.kind: kind.plural for kind in KINDS}
    ours = [d for d in documents if d.get("kind") in plurals]
    for body in ours:
        body["metadata"].pop("namespace", None)
        made = jobs.create_namespaced_custom_object(
            *OF, "default", plurals[body["kind"]], body, dry_run="All", field_validation="Strict"
        )
        assert made["spec"]["component"]
