"""The operator works with exactly the rights and the environment that the chart gives it."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chart
import pytest
import yaml
from devcluster import Cluster
from devcluster.images import loading
from devcluster.kubectl import manifest
from distill_api.generate import files

RELEASE = "kubedistill"
VALID: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "valid_object.yaml").read_text())


@pytest.fixture(scope="module")
def running(crd: None, cluster: Cluster, shared_space: str) -> Iterator[str]:
    """Yield the namespace in which the chart's operator runs, serving that namespace alone."""
    repository, _, tag = loading.bring(cluster, "operator", files.ROOT).rpartition(":")
    registry, _, path = repository.partition("/")
    values = {
        "image": {"registry": registry, "repository": path, "tag": tag},
        "crds": {"enabled": False},
        "watchNamespaces": [shared_space],
        "fullnameOverride": shared_space,
        "replicas": 2,
    }
    where = ("--namespace", shared_space, "--kubeconfig", str(cluster.kubeconfig))
    wait = ("--wait", "--timeout", "4m")
    answer = chart.run("install", RELEASE, str(chart.CHART), *where, *wait, values=values)
    assert answer.returncode == 0, answer.stderr + _logs(cluster, shared_space)
    yield shared_space
    chart.run("uninstall", RELEASE, *where)


def _logs(cluster: Cluster, space: str) -> str:
    return cluster.kubectl(
        "logs", "-n", space, "-l", "app.kubernetes.io/component=operator", "--tail=200"
    )


def _get(cluster: Cluster, space: str, what: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cluster.kubectl("get", what, "-n", space, "-o", "json"))
    return found


def _within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Return whether something came true in that time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(1)
    return False


def test_one_replica_leads_and_receives_the_progress(cluster: Cluster, running: str) -> None:
    pods = _get(cluster, running, "pods")["items"]
    assert len(pods) == 2
    assert {p["status"]["containerStatuses"][0]["restartCount"] for p in pods} == {0}
    leader = _get(cluster, running, "lease/kubedistill")["spec"]["holderIdentity"]
    ips = {p["metadata"]["name"]: p["status"]["podIP"] for p in pods}
    assert leader in ips
    slice_ = _get(cluster, running, "endpointslice/kubedistill-progress-leader")
    assert slice_["metadata"]["labels"]["kubernetes.io/service-name"] == "kubedistill-progress"
    assert [e["addresses"] for e in slice_["endpoints"]] == [[ips[leader]]]
    assert slice_["ports"][0]["port"] == 8443


def test_it_serves_a_job_and_is_forbidden_nothing(cluster: Cluster, running: str) -> None:
    job = {**VALID, "spec": {**VALID["spec"], "suspend": True}}
    cluster.kubectl("apply", "-n", running, "-f", "-", stdin=manifest(job))
    name = job["metadata"]["name"]
    condition = "--for=condition=Suspended"
    cluster.kubectl("wait", "-n", running, f"djob/{name}", condition, "--timeout=60s")
    status = _get(cluster, running, f"djob/{name}")["status"]
    assert status["observedGeneration"] == 1
    assert {c["type"] for c in status["conditions"]} >= {"Succeeded", "Ready", "Stalled"}
    logs = _logs(cluster, running)
    assert "forbidden" not in logs.lower()
    assert "Traceback" not in logs


def test_it_makes_the_stages_job_in_a_restricted_namespace(cluster: Cluster, running: str) -> None:
    """The job cannot succeed (its teacher is nowhere), but its first pod must be admitted."""
    name = VALID["metadata"]["name"]
    cluster.kubectl(
        "patch", "djob", name, "-n", running, "--type=merge", "-p", '{"spec":{"suspend":false}}'
    )
    labelled = ("get", "jobs,pvc", "-n", running, "-o", "name")
    assert _within(60, lambda: "job.batch/" in cluster.kubectl(*labelled)), _logs(cluster, running)
    assert "persistentvolumeclaim/" in cluster.kubectl(*labelled)
    assert "violates PodSecurity" not in cluster.kubectl("get", "events", "-n", running)
    assert "forbidden" not in _logs(cluster, running).lower()


def test_the_other_replica_takes_over_when_the_leader_goes(cluster: Cluster, running: str) -> None:
    leader = _get(cluster, running, "lease/kubedistill")["spec"]["holderIdentity"]
    cluster.kubectl("delete", "pod", leader, "-n", running, "--wait=false")

    def moved() -> bool:
        holder = _get(cluster, running, "lease/kubedistill")["spec"].get("holderIdentity")
        return bool(holder) and holder != leader

    assert _within(60, moved), _logs(cluster, running)
