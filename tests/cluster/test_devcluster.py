"""The development cluster keeps its promises: pods, names, volumes, faults."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from devcluster import Cluster, ClusterError, busybox

CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 16Mi}}
"""


@pytest.fixture
def ours(cluster: Cluster) -> Cluster:
    """Return the cluster if this tool raised it: faults are impossible on another one."""
    if cluster.paths is None:
        pytest.skip("KUBECONFIG names a foreign cluster, where no node may be killed")
    return cluster


def _pod(
    name: str, script: str, *, claim: str = "", policy: str = "Never", scratch: bool = False
) -> str:
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, str]] = []
    if claim:
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": claim}})
        mounts.append({"name": "data", "mountPath": "/data"})
    if scratch:
        volumes.append({"name": "tmp", "emptyDir": {}})
        mounts.append({"name": "tmp", "mountPath": "/scratch"})
    container = {
        "name": "main",
        "image": busybox.REFERENCE,
        "command": ["/bin/sh", "-c", script],
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    security = {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    spec = {
        "restartPolicy": policy,
        "terminationGracePeriodSeconds": 1,
        "securityContext": security,
        "containers": [container],
        "volumes": volumes,
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    return json.dumps(pod)


@dataclass(frozen=True, slots=True)
class Space:
    """One namespace of the cluster."""

    cluster: Cluster
    name: str

    def kubectl(self, *words: str, stdin: str = "") -> str:
        return self.cluster.kubectl("--namespace", self.name, *words, stdin=stdin)

    def apply(self, manifest: str) -> None:
        self.kubectl("apply", "--filename", "-", stdin=manifest)

    def start(self, name: str, manifest: str) -> None:
        """Apply a pod and wait until it runs."""
        self.apply(manifest)
        self.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=90s")

    def phase(self, pod: str) -> str:
        return self.kubectl("get", "pod", pod, "--output=jsonpath={.status.phase}")

    def finish(self, pod: str) -> str:
        """Wait for a pod's end; return what it said."""
        _eventually(lambda: self.phase(pod) in {"Succeeded", "Failed"})
        said = self.kubectl("logs", pod)
        assert self.phase(pod) == "Succeeded", said
        return said

    def volume(self) -> Path:
        """Where the node keeps the claim's volume, seen from the host."""
        volume = self.kubectl("get", "pvc", "data", "--output=jsonpath={.spec.volumeName}")
        path = self.kubectl("get", "pv", volume, "--output=jsonpath={.spec.local.path}")
        assert self.cluster.paths is not None
        return self.cluster.paths.node_state("node-1") / "volumes" / Path(path).name


@pytest.fixture
def here(cluster: Cluster, space: str) -> Space:
    """Return a namespace of the test's own."""
    return Space(cluster, space)


def _eventually(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.5)


def test_a_restricted_pod_runs_and_is_heard(here: Space) -> None:
    here.apply(_pod("speaker", "id -u; echo hello"))
    assert here.finish("speaker") == "65532\nhello\n"


def test_a_privileged_pod_is_refused(here: Space) -> None:
    with pytest.raises(ClusterError, match="violates PodSecurity"):
        here.kubectl("run", "boss", f"--image={busybox.REFERENCE}", "--privileged")


def test_pods_find_services_by_name(here: Space) -> None:
    here.apply(_pod("seeker", "nslookup kubernetes.default.svc.cluster.local"))
    assert "10.96.0.1" in here.finish("seeker")


def test_a_service_reaches_its_pod_and_the_pod_reaches_itself_through_it(here: Space) -> None:
    page = "echo served >/scratch/index.html; exec busybox httpd -f -p 8080 -h /scratch"
    here.start("server", _pod("server", page, scratch=True))
    here.kubectl("label", "pod", "server", "app=server")
    here.kubectl("create", "service", "clusterip", "server", "--tcp=80:8080")
    address = here.kubectl("get", "service", "server", "--output=jsonpath={.spec.clusterIP}")
    fetch = f"wget -qO- http://{address}:80/"
    here.apply(_pod("caller", f"until {fetch}; do sleep 1; done"))
    assert here.finish("caller") == "served\n"
    assert here.kubectl("exec", "server", "--", "sh", "-c", fetch) == "served\n"


def test_the_host_reaches_pods(here: Space) -> None:
    page = "echo served >/scratch/index.html; exec busybox httpd -f -p 8080 -h /scratch"
    here.start("server", _pod("server", page, scratch=True))
    address = here.kubectl("get", "pod", "server", "--output=jsonpath={.status.podIP}")
    assert httpx.get(f"http://{address}:8080/").text == "served\n"


def test_pods_and_host_reach_the_registry_under_one_name(here: Space) -> None:
    registry = here.cluster.registry
    assert httpx.get(f"http://{registry}/v2/").json() == {}
    here.apply(_pod("caller", f"wget -qO- http://{registry}/v2/"))
    assert here.finish("caller").strip() == "{}"


def test_a_command_runs_inside_a_pod(here: Space) -> None:
    here.start("host", _pod("host", "sleep 600"))
    assert here.kubectl("exec", "host", "--", "echo", "inside") == "inside\n"


def test_a_released_volume_leaves_no_data(here: Space, ours: Cluster) -> None:
    here.apply(CLAIM)
    here.apply(_pod("writer", "echo kept >/data/file", claim="data"))
    here.finish("writer")
    folder = here.volume()
    assert (folder / "file").read_text() == "kept\n"
    here.kubectl("delete", "pod/writer", "pvc/data")
    _eventually(lambda: not folder.exists())


def test_a_small_disk_becomes_full(here: Space, ours: Cluster) -> None:
    here.apply(CLAIM.replace("accessModes", "storageClassName: small-disk\n  accessModes"))
    script = "dd if=/dev/zero of=/data/file bs=1M count=100 2>&1 && exit 1; echo full"
    here.apply(_pod("writer", script, claim="data"))
    assert "No space left on device" in here.finish("writer")


def test_a_killed_node_comes_back_with_its_volumes(here: Space, ours: Cluster) -> None:
    here.apply(CLAIM)
    script = "echo $(hostname) started >>/data/starts; sleep 600"
    here.start("server", _pod("server", script, claim="data", policy="Always"))
    ours.kill_node("node-1")
    with pytest.raises(ClusterError):
        here.kubectl("exec", "server", "--", "true")
    ours.start_node("node-1")

    starts = here.volume() / "starts"
    _eventually(lambda: len(starts.read_text().splitlines()) == 2)
    here.kubectl("wait", "--for=condition=Ready", "pod/server", "--timeout=90s")
    assert here.kubectl("exec", "server", "--", "cat", "/data/starts").count("server") == 2


def test_a_pod_that_must_not_restart_fails_when_its_node_was_lost(
    here: Space, ours: Cluster
) -> None:
    here.start("once", _pod("once", "sleep 600"))
    ours.kill_node("node-1")
    ours.start_node("node-1")
    _eventually(lambda: here.phase("once") == "Failed")


def test_the_api_server_stops_and_starts_under_running_pods(here: Space, ours: Cluster) -> None:
    here.start("steady", _pod("steady", "sleep 600"))
    ours.stop("apiserver")
    with pytest.raises(ClusterError, match="exit status 1"):
        here.kubectl("get", "pods")
    ours.start("apiserver")
    status = json.loads(here.kubectl("get", "pod", "steady", "--output=json"))["status"]
    assert status["phase"] == "Running"
    assert status["containerStatuses"][0]["restartCount"] == 0


def test_faults_are_refused_on_a_foreign_cluster(
    ours: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "kubeconfig"
    copy.write_bytes(ours.kubeconfig.read_bytes())
    monkeypatch.setenv("KUBECONFIG", str(copy))
    monkeypatch.setenv("PATH", ours.environment["PATH"])
    foreign = Cluster.attach_or_up()
    assert "node-1" in foreign.kubectl("get", "nodes")
    with pytest.raises(ClusterError, match="not possible on a foreign cluster"):
        foreign.kill_node("node-1")
