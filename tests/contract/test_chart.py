"""The chart renders what the operator needs, in the strictest pod security, and nothing more."""

import json
from collections.abc import Iterator
from typing import Any

import chart
import pytest
import yaml
from distill_api import names
from distill_api.generate import files
from distill_operator import settings

DEFINITION = "CustomResourceDefinition"
pytestmark = pytest.mark.skipif(
    chart.helm() is None, reason="needs helm: run `python -m devcluster build`"
)
NAMESPACED = {"watchNamespaces": ["search", "chat"]}


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    return chart.render()


@pytest.fixture(scope="module")
def namespaced() -> list[dict[str, Any]]:
    return chart.render(NAMESPACED)


def _pod(objects: list[dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = chart.only(objects, "Deployment")["spec"]["template"]["spec"]
    return spec


def _environment(objects: list[dict[str, Any]]) -> dict[str, str]:
    """Return the operator's environment, with what the kubelet fills in."""
    filled = {"POD_NAME": "kubedistill-0", "POD_NAMESPACE": "spaces", "POD_IP": "192.0.2.7"}
    listed = _pod(objects)["containers"][0]["env"]
    return {e["name"]: e["value"] if "value" in e else filled[e["name"]] for e in listed}


def _rules(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for made in objects:
        if made["kind"] in {"Role", "ClusterRole"}:
            for rule in made["rules"]:
                yield made["metadata"]["name"], rule


def test_helm_lint_finds_nothing() -> None:
    answer = chart.run("lint", "--strict", str(chart.CHART))
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("tag", ["123456789012", "12345e678901", "0x1234567890", "null", "1.10"])
def test_a_tag_that_reads_like_a_number_is_kept(tag: str) -> None:
    """Tags are digests of what an image is made of, so one in a few hundred has digits only."""
    pod = _pod(chart.render({"image": {"tag": tag}}))
    assert pod["containers"][0]["image"].endswith(f":{tag}")


def test_every_object_is_named_once_and_labelled(objects: list[dict[str, Any]]) -> None:
    keys = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects]
    assert len(keys) == len(set(keys)) == 16
    for made in objects:
        assert made["metadata"]["labels"]["app.kubernetes.io/part-of"] == "kubedistill"


def test_the_operator_reads_every_setting_that_the_chart_gives(
    objects: list[dict[str, Any]],
) -> None:
    environment = _environment(objects)
    read = settings.read(environment)
    assert read.trainer_image == "kubedistill/trainer:0.1.0"
    assert (read.namespace, read.identity, read.pod_ip) == ("spaces", "kubedistill-0", "192.0.2.7")
    assert read.watch_namespaces == ()
    assert read.progress_url == "https://kubedistill-progress.spaces.svc:8443/v1/progress"
    source = (files.ROOT / "operator/src/distill_operator/settings.py").read_text()
    assert [n for n in environment if f'"{n.removeprefix("KUBEDISTILL_")}"' not in source] == []


def test_values_reach_the_operator() -> None:
    values = {
        "operator": {"logLevel": "DEBUG", "workers": 3, "lostNodeSeconds": 10},
        "progress": {"writeSeconds": 2},
        "leaderElection": {"leaseSeconds": 30},
        **NAMESPACED,
    }
    read = settings.read(_environment(chart.render(values)))
    assert (read.log_level, read.workers, read.lost_node_seconds) == ("DEBUG", 3, 10)
    assert (read.progress_write_seconds, read.lease_seconds) == (2, 30)
    assert read.watch_namespaces == ("search", "chat")


def test_ports_probes_and_services_meet(objects: list[dict[str, Any]]) -> None:
    container = _pod(objects)["containers"][0]
    read = settings.read(_environment(objects))
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"metrics": read.metrics_port, "https": read.progress_port}
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        assert container[probe]["httpGet"]["port"] == "metrics"
    progress = chart.only(objects, "Service", "progress")
    assert progress["metadata"]["name"] == read.progress_service
    assert "selector" not in progress["spec"]  # the leader writes the EndpointSlice
    assert progress["spec"]["ports"][0]["port"] == read.progress_port
    metrics = chart.only(objects, "Service", "metrics")
    labels = chart.only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert metrics["spec"]["selector"].items() <= labels.items()


def test_pods_satisfy_the_restricted_standard(objects: list[dict[str, Any]]) -> None:
    pod = _pod(objects)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert pod["volumes"] == [{"name": "tmp", "emptyDir": {}}]


def test_nothing_is_allowed_by_a_star(objects: list[dict[str, Any]]) -> None:
    rules = list(_rules(objects))
    assert len(rules) > 10
    assert [name for name, rule in rules if "*" in str(rule)] == []


def test_secrets_are_neither_listed_nor_read_but_its_own(objects: list[dict[str, Any]]) -> None:
    about = [(name, r) for name, r in _rules(objects) if "secrets" in r["resources"]]
    assert {name for name, _ in about} == {"kubedistill-own"}
    for _, rule in about:
        assert rule["verbs"] == ["create"] or rule["resourceNames"] == ["kubedistill-progress-tls"]
        assert not {"list", "watch", "delete"} & set(rule["verbs"])


def test_namespaced_mode_needs_no_rights_on_the_cluster_but_token_reviews(
    namespaced: list[dict[str, Any]],
) -> None:
    cluster_wide = {o["roleRef"]["name"] for o in namespaced if o["kind"] == "ClusterRoleBinding"}
    assert cluster_wide == {"kubedistill-token-review"}
    served = [o for o in namespaced if o["kind"] == "RoleBinding"]
    assert {o["metadata"]["namespace"] for o in served} == {"search", "chat", chart.NAMESPACE}


def test_without_progress_there_is_no_right_on_the_cluster_at_all() -> None:
    made = chart.render({**NAMESPACED, "progress": {"enabled": False}})
    assert [o for o in made if o["kind"] == "ClusterRoleBinding"] == []
    assert settings.read(_environment(made)).progress_url is None
    assert not [r for _, r in _rules(made) if "secrets" in r["resources"]]


def test_both_modes_give_the_same_rights_where_jobs_are_served(
    objects: list[dict[str, Any]], namespaced: list[dict[str, Any]]
) -> None:
    wide = chart.only(objects, "ClusterRole", "-serving")["rules"]
    roles = [o for o in namespaced if o["kind"] == "Role" and "-serving" in str(o["metadata"])]
    assert len(roles) == 2
    assert all(role["rules"] == wide for role in roles)


def test_rights_for_rollouts_are_given_only_where_they_are_served(
    objects: list[dict[str, Any]],
) -> None:
    groups = {"gateway.networking.k8s.io", "apps"}
    without = chart.render({"rollouts": {"enabled": False}})
    assert not [r for _, r in _rules(without) if groups & set(r["apiGroups"])]
    services = [r["verbs"] for _, r in _rules(without) if "services" in r["resources"]]
    assert services == [["get", "create"]], "for the pods of a job that train together"
    given = {
        resource: set(rule["verbs"])
        for name, rule in _rules(objects)
        if name.endswith("-serving")
        for resource in rule["resources"]
    }
    read = {"get", "list", "watch"}
    assert given["gateways"] == given["endpointslices"] == read
    assert given["httproutes"] == given["deployments"] == given["services"]
    assert given["poddisruptionbudgets"] == given["services"]
    assert given["services"] == read | {"create", "patch", "delete"}
    assert given["distilledmodelrollouts"] == read | {"patch"}
    assert given["distilledmodelrollouts/status"] == {"update"}
    assert settings.read(_environment(objects)).server_image == "kubedistill/server:0.1.0"
    assert settings.read(_environment(without)).server_image == ""
    assert settings.read(_environment(objects)).image_volumes is None
    old = chart.render({"rollouts": {"enabled": True, "imageVolumes": "off"}})
    assert settings.read(_environment(old)).image_volumes is False
    assert [n for n, r in _rules(objects) if "*" in str(r)] == []


def test_definitions_can_be_left_out_and_are_kept_on_uninstall(
    objects: list[dict[str, Any]],
) -> None:
    kept = [o["metadata"]["annotations"] for o in objects if o["kind"] == DEFINITION]
    assert kept == 2 * [{"helm.sh/resource-policy": "keep"}]
    without = chart.render({"crds": {"enabled": False}})
    assert DEFINITION not in {o["kind"] for o in without}
    loose = chart.render({"crds": {"keep": False}})
    assert ["annotations" in o["metadata"] for o in loose if o["kind"] == DEFINITION] == 2 * [False]


def test_a_digest_wins_over_a_tag() -> None:
    digest = "sha256:" + "a" * 64
    image = {"registry": "registry.example.com:5000", "tag": "v9", "digest": digest}
    container = _pod(chart.render({"image": image}))["containers"][0]
    assert container["image"] == f"registry.example.com:5000/kubedistill/operator@{digest}"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"replica": 2}, "replica"),
        ({"image": {"digests": "x"}}, "digests"),
        ({"image": {"digest": "sha256:short"}}, "digest"),
        ({"operator": {"logLevel": "LOUD"}}, "logLevel"),
        ({"watchNamespaces": ["Capital"]}, "watchNamespaces"),
        ({"replicas": -1}, "replicas"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_value_is_refused_by_its_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        chart.render(values)


def test_the_schema_knows_every_value_and_every_value_is_explained() -> None:
    text = (chart.CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    schema = json.loads((chart.CHART / "values.schema.json").read_text())
    assert set(schema["properties"]) - {"global"} == set(values)
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("kind", ["distillationjob", "distilledmodelrollout"])
def test_people_with_edit_may_write_our_objects_and_with_view_read_them(
    objects: list[dict[str, Any]], kind: str
) -> None:
    viewer = chart.only(objects, "ClusterRole", f"-{kind}-viewer")
    editor = chart.only(objects, "ClusterRole", f"-{kind}-editor")
    label = "rbac.authorization.k8s.io/aggregate-to-"
    assert viewer["metadata"]["labels"][f"{label}view"] == "true"
    assert f"{label}view" not in editor["metadata"]["labels"]
    assert {verb for rule in viewer["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}
    assert editor["rules"][0]["resources"] == [f"{kind}s"]


def test_the_notes_name_the_release_and_its_commands() -> None:
    answer = chart.run(
        "install", "here", str(chart.CHART), "-n", "there", "--dry-run=client", values=NAMESPACED
    )
    assert answer.returncode == 0, answer.stderr
    assert "kubectl -n there rollout status deployment/here-kubedistill" in answer.stdout
    assert (
        "It serves DistillationJobs and DistilledModelRollouts in: search, chat." in answer.stdout
    )
    for plural in (names.JOB_PLURAL, names.ROLLOUT_PLURAL):
        assert f"{plural}.{names.GROUP}" in answer.stdout, "as it has to be removed by hand"
