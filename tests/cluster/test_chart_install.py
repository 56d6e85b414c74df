"""A real API server takes the chart, and gives the operator the rights it needs and no others."""

from collections.abc import Callable, Iterator
from typing import Any

import chart
import pytest
import yaml
from devcluster import Cluster, ClusterError
from devcluster.kubectl import manifest

RELEASE = "kubedistill"


@pytest.fixture
def installed(crd: None, cluster: Cluster, space: str) -> Iterator[str]:
    """Yield the namespace of a release without pods; the definitions are there already."""
    where = ("--namespace", space, "--kubeconfig", str(cluster.kubeconfig))
    values = {"crds": {"enabled": False}, "replicas": 0, "fullnameOverride": space}
    answer = chart.run("install", RELEASE, str(chart.CHART), *where, values=values)
    assert answer.returncode == 0, answer.stderr
    yield space
    gone = chart.run("uninstall", RELEASE, *where)
    assert gone.returncode == 0, gone.stderr


def test_the_api_server_takes_every_object(cluster: Cluster, space: str) -> None:
    objects = [o for o in chart.render() if o["kind"] != "CustomResourceDefinition"]
    for made in objects:
        if made["metadata"].get("namespace"):
            made["metadata"]["namespace"] = space
    answer = cluster.kubectl(
        "apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=manifest(*objects)
    )
    assert answer.count("(server dry run)") == len(objects) == 14


def test_its_pod_is_admitted_by_the_restricted_standard(cluster: Cluster, space: str) -> None:
    spec = chart.only(chart.render(), "Deployment")["spec"]["template"]["spec"]
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "operator", "namespace": space},
        "spec": {**spec, "serviceAccountName": "default"},
    }
    words = ("apply", "--dry-run=server", "-f", "-")
    assert "operator" in cluster.kubectl(*words, stdin=manifest(pod))
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(ClusterError, match="violates PodSecurity"):
        cluster.kubectl(*words, stdin=manifest(pod))


ALLOWED = [
    ("watch", "distillationjobs.kubedistill.io", "elsewhere"),
    ("update", "distillationjobs.kubedistill.io/status", "elsewhere"),
    ("create", "jobs.batch", "elsewhere"),
    ("delete", "jobs.batch", "elsewhere"),
    ("create", "persistentvolumeclaims", "elsewhere"),
    ("list", "pods", "elsewhere"),
    ("create", "events.events.k8s.io", "elsewhere"),
    ("create", "tokenreviews.authentication.k8s.io", ""),
    ("update", "leases.coordination.k8s.io/kubedistill", "own"),
    ("get", "secrets/kubedistill-progress-tls", "own"),
    ("delete", "endpointslices.discovery.k8s.io/kubedistill-progress-leader", "own"),
]
FORBIDDEN = [
    ("list", "secrets", "own"),
    ("get", "secrets/other", "own"),
    ("get", "secrets", "elsewhere"),
    ("create", "secrets", "elsewhere"),
    ("create", "pods", "elsewhere"),
    ("create", "pods/exec", "elsewhere"),
    ("get", "configmaps", "elsewhere"),
    ("create", "distillationjobs.kubedistill.io", "elsewhere"),
    ("update", "leases.coordination.k8s.io/other", "own"),
    ("create", "clusterrolebindings.rbac.authorization.k8s.io", ""),
    ("impersonate", "serviceaccounts", "elsewhere"),
]


@pytest.fixture
def may(cluster: Cluster, installed: str) -> Callable[[str, str, str], bool]:
    """Return whether the operator's service account may do something."""

    def ask(verb: str, what: str, where: str) -> bool:
        place = {"own": installed, "elsewhere": "default"}.get(where)
        resource, _, name = what.partition("/")
        review: dict[str, Any] = {"verb": verb, "resource": resource.split(".")[0]}
        review["group"] = resource.partition(".")[2]
        review |= {"namespace": place} if place else {}
        subresource = name in {"status", "exec"}
        review |= {"subresource" if subresource else "name": name} if name else {}
        return _reviewed(cluster, f"system:serviceaccount:{installed}:{installed}", review)

    return ask


def _reviewed(cluster: Cluster, user: str, attributes: dict[str, Any]) -> bool:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": attributes},
    }
    answer = cluster.kubectl("create", "-f", "-", "-o", "yaml", stdin=manifest(review))
    allowed: bool = yaml.safe_load(answer)["status"]["allowed"]
    return allowed


def test_the_operator_has_the_rights_it_needs_and_no_others(
    may: Callable[[str, str, str], bool],
) -> None:
    assert [asked for asked in ALLOWED if not may(*asked)] == []
    assert [asked for asked in FORBIDDEN if may(*asked)] == []


def test_a_release_can_be_upgraded_and_leaves_the_definitions_behind(
    cluster: Cluster, installed: str
) -> None:
    where = ("--namespace", installed, "--kubeconfig", str(cluster.kubeconfig))
    values = {"crds": {"enabled": False}, "replicas": 0, "watchNamespaces": [installed]}
    values["fullnameOverride"] = installed
    answer = chart.run("upgrade", RELEASE, str(chart.CHART), *where, values=values)
    assert answer.returncode == 0, answer.stderr
    roles = cluster.kubectl("get", "clusterrole", "-o", "name")
    assert f"{installed}-serving" not in roles
    assert f"{installed}-serving" in cluster.kubectl("get", "role", "-n", installed, "-o", "name")
