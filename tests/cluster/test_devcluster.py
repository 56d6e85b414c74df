"""The development cluster keeps its promises: pods, names, volumes, faults."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from devcluster import Cluster, ClusterError, busybox

pytestmark = pytest.mark.cluster
SPACE = "devcluster-test"

CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 16Mi}}
"""


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster.attach_or_up(nodes=1, addons={"registry"})


@pytest.fixture(autouse=True)
def namespace(cluster: Cluster) -> Iterator[None]:
    """Give each test an empty namespace under the strictest pod security."""
    cluster.kubectl("create", "namespace", SPACE)
    level = "pod-security.kubernetes.io/enforce=restricted"
    cluster.kubectl("label", "namespace", SPACE, level)
    try:
        yield
    finally:
        cluster.kubectl("delete", "namespace", SPACE, "--wait", "--timeout=120s")


def _pod(name: str, script: str, *, claim: str = "", policy: str = "Never") -> str:
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}] if claim else []
    container = {
        "name": "main",
        "image": busybox.REFERENCE,
        "command": ["/bin/sh", "-c", script],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}] if claim else [],
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


def _kubectl(cluster: Cluster, *words: str, stdin: str = "") -> str:
    return cluster.kubectl("--namespace", SPACE, *words, stdin=stdin)


def _apply(cluster: Cluster, manifest: str) -> None:
    _kubectl(cluster, "apply", "--filename", "-", stdin=manifest)


def _finish(cluster: Cluster, name: str) -> str:
    """Wait for a pod's end; return what it said."""
    phase = ""

    def ended() -> bool:
        nonlocal phase
        phase = _kubectl(cluster, "get", "pod", name, "--output=jsonpath={.status.phase}")
        return phase in {"Succeeded", "Failed"}

    _eventually(ended)
    said = _kubectl(cluster, "logs", name)
    assert phase == "Succeeded", said
    return said


def _eventually(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.5)


def test_a_restricted_pod_runs_and_is_heard(cluster: Cluster) -> None:
    _apply(cluster, _pod("speaker", "id -u; echo hello"))
    assert _finish(cluster, "speaker") == "65532\nhello\n"


def test_a_privileged_pod_is_refused(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match="violates PodSecurity"):
        _kubectl(cluster, "run", "boss", f"--image={busybox.REFERENCE}", "--privileged")


def test_pods_find_services_by_name(cluster: Cluster) -> None:
    _apply(cluster, _pod("seeker", "nslookup kubernetes.default.svc.cluster.local"))
    assert "10.96.0.1" in _finish(cluster, "seeker")


def test_pods_and_host_reach_the_registry_under_one_name(cluster: Cluster) -> None:
    assert cluster.registry
    _apply(cluster, _pod("caller", f"wget -qO- http://{cluster.registry}/v2/"))
    assert _finish(cluster, "caller").strip() == "{}"


def test_a_command_runs_inside_a_pod(cluster: Cluster) -> None:
    _apply(cluster, _pod("host", "sleep 600"))
    _kubectl(cluster, "wait", "--for=condition=Ready", "pod/host", "--timeout=60s")
    assert _kubectl(cluster, "exec", "host", "--", "echo", "inside") == "inside\n"


def test_a_released_volume_leaves_no_data(cluster: Cluster) -> None:
    _apply(cluster, CLAIM)
    _apply(cluster, _pod("writer", "echo kept >/data/file", claim="data"))
    _finish(cluster, "writer")
    folder = _volume_folder(cluster)
    assert (folder / "file").read_text() == "kept\n"
    _kubectl(cluster, "delete", "pod/writer", "pvc/data")
    _eventually(lambda: not folder.exists())


def test_a_small_disk_becomes_full(cluster: Cluster) -> None:
    _apply(cluster, CLAIM.replace("accessModes", "storageClassName: small-disk\n  accessModes"))
    script = "dd if=/dev/zero of=/data/file bs=1M count=100 2>&1 && exit 1; echo full"
    _apply(cluster, _pod("writer", script, claim="data"))
    assert "No space left on device" in _finish(cluster, "writer")


def test_a_killed_node_comes_back_with_its_volumes(cluster: Cluster) -> None:
    _apply(cluster, CLAIM)
    script = "echo $(hostname) started >>/data/starts; sleep 600"
    _apply(cluster, _pod("server", script, claim="data", policy="Always"))
    _kubectl(cluster, "wait", "--for=condition=Ready", "pod/server", "--timeout=90s")

    cluster.kill_node("node-1")
    assert _address_answers(cluster) is False
    cluster.start_node("node-1")

    starts = _volume_folder(cluster) / "starts"
    _eventually(lambda: len(starts.read_text().splitlines()) == 2)
    _kubectl(cluster, "wait", "--for=condition=Ready", "pod/server", "--timeout=90s")
    assert _kubectl(cluster, "exec", "server", "--", "cat", "/data/starts").count("server") == 2


def test_a_pod_that_must_not_restart_fails_when_its_node_was_lost(cluster: Cluster) -> None:
    _apply(cluster, _pod("once", "sleep 600"))
    _kubectl(cluster, "wait", "--for=condition=Ready", "pod/once", "--timeout=60s")
    cluster.kill_node("node-1")
    cluster.start_node("node-1")
    phase = ("get", "pod", "once", "--output=jsonpath={.status.phase}")
    _eventually(lambda: _kubectl(cluster, *phase) == "Failed")


def test_the_api_server_stops_and_starts_under_running_pods(cluster: Cluster) -> None:
    _apply(cluster, _pod("steady", "sleep 600"))
    _kubectl(cluster, "wait", "--for=condition=Ready", "pod/steady", "--timeout=60s")
    cluster.stop("apiserver")
    with pytest.raises(ClusterError, match="exit status 1"):
        _kubectl(cluster, "get", "pods")
    cluster.start("apiserver")
    status = json.loads(_kubectl(cluster, "get", "pod", "steady", "--output=json"))["status"]
    assert status["phase"] == "Running"
    assert status["containerStatuses"][0]["restartCount"] == 0


def test_faults_are_refused_on_a_foreign_cluster(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "kubeconfig"
    copy.write_bytes(cluster.kubeconfig.read_bytes())
    monkeypatch.setenv("KUBECONFIG", str(copy))
    monkeypatch.setenv("PATH", cluster.environment["PATH"])
    foreign = Cluster.attach_or_up()
    assert "node-1" in foreign.kubectl("get", "nodes")
    with pytest.raises(ClusterError, match="not possible on a foreign cluster"):
        foreign.kill_node("node-1")


def _volume_folder(cluster: Cluster) -> Path:
    """Where the node keeps the claim's volume, seen from the host."""
    volume = _kubectl(cluster, "get", "pvc", "data", "--output=jsonpath={.spec.volumeName}")
    path = cluster.kubectl("get", "pv", volume, "--output=jsonpath={.spec.local.path}")
    assert cluster.paths is not None
    return cluster.paths.node_state("node-1") / "volumes" / Path(path).name


def _address_answers(cluster: Cluster) -> bool:
    try:
        _kubectl(cluster, "exec", "server", "--", "true")
    except ClusterError:
        return False
    return True
