"""The same bad student under Flagger at its quickest: every 10 s (it takes no less), one failure.

Flagger is built from its pinned Go module the first time. It reads Prometheus, as its tutorial for
the Gateway API does, and compares the canary's share of failed requests with one limit.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import images
import moving
from devcluster import paths, programs, traffic
from devcluster.kubectl import manifest
from moving import HOSTNAME, NAME, Scene
from operators import eventually, free_port
from reaction import RATE, Reaction, told

PROGRAM: Final = programs.Program(
    "flagger", ("github.com/fluxcd/flagger/cmd/flagger",), binary="flagger"
)
MODULE: Final = Path(__file__).parent / "go" / "flagger"
PORT: Final = 8080
ERRORS: Final = """
100 * sum(rate(distill_server_requests_total{status="5xx",POD}[{{ interval }}]))
/ sum(rate(distill_server_requests_total{POD}[{{ interval }}]))
""".replace("POD", 'namespace="{{ namespace }}",pod=~"{{ target }}-[0-9a-z]+-[0-9a-z]+"')
type Manifest = dict[str, Any]


def measure(here: Scene, trials: int) -> list[Reaction]:
    """Let a student fail half of its requests from its first one on."""
    prometheus = here.cluster.prometheus
    with _running(here, prometheus):
        here("apply", "-f", "-", stdin=manifest(_deployment(here, fault=""), *_canary(prometheus)))
        _reaches(here, "Initialized")
        return [_trial(here, number) for number in range(trials)]


def _trial(here: Scene, number: int) -> Reaction:
    here.answers()
    with traffic.flowing([here.request], per_second=RATE) as flow:
        began = time.time()
        here("apply", "-f", "-", stdin=manifest(_deployment(here, fault=f"half-{number}")))
        eventually(lambda: here.weights()[1] > 0, "the canary's weight", within=120, every=0.05)
        eventually(lambda: here.weights()[1] == 0, "no weight", within=180, every=0.05)
        written = time.time()
        _reaches(here, "Failed")
        found = told(flow, began, written=written, verified=time.time())
    if not found.failed:
        raise RuntimeError("no answer failed, so the fault was never served: nothing was measured")
    return found


def _reaches(here: Scene, phase: str) -> None:
    def look() -> bool:
        return bool(here.get("canary", NAME).get("status", {}).get("phase") == phase)

    eventually(look, f"canary {phase}", within=240, every=0.2)


@contextmanager
def _running(here: Scene, prometheus: str) -> Iterator[None]:
    """Run Flagger as a process of this machine, with the cluster's own rights."""
    folder = programs.build_one(PROGRAM, MODULE, paths.default().programs, say=print)
    definitions = programs.source(PROGRAM, MODULE) / "artifacts" / "flagger" / "crd.yaml"
    here("apply", "--server-side", "--force-conflicts", "-f", str(definitions))
    here("wait", "--for=condition=Established", "crd/canaries.flagger.app")
    command = [
        str(folder / "flagger"),
        f"-kubeconfig={here.cluster.kubeconfig}",
        "-mesh-provider=gatewayapi:v1",
        f"-metrics-server={prometheus}",
        f"-namespace={here.name}",
        f"-port={free_port()}",
        "-log-level=error",
    ]
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.terminate()
            here("delete", "canary", NAME, "--ignore-not-found", "--wait=false")


def _canary(prometheus: str) -> tuple[Manifest, Manifest]:
    template = {"name": "errors"}
    metric = {"name": "errors", "templateRef": template, "thresholdRange": {"max": 1}}
    group = {"apiVersion": "flagger.app/v1beta1"}
    canary = {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
        "progressDeadlineSeconds": 120,
        "service": {
            "port": PORT,
            "targetPort": PORT,
            "hosts": [HOSTNAME],
            "gatewayRefs": [{"name": "edge"}],
        },
        "analysis": {
            "interval": "10s",
            "threshold": 1,
            "maxWeight": 50,
            "stepWeight": 50,
            "metrics": [{**metric, "interval": "10s"}],
        },
    }
    provider = {"type": "prometheus", "address": prometheus}
    return (
        {**group, "kind": "MetricTemplate", "metadata": template}
        | {"spec": {"provider": provider, "query": ERRORS}},
        {**group, "kind": "Canary", "metadata": {"name": NAME}, "spec": canary},
    )


def _fetcher(here: Scene, server: Manifest) -> Manifest:
    """Return the container that brings the model before the server starts."""
    names = ("image", "env", "resources", "securityContext")
    artifact = ["--artifact", here.models.student, "--into", "/artifact", "--plain-http"]
    return {
        **{name: server[name] for name in names},
        "name": "fetch-model",
        "command": ["python", "-m", "distill_server.fetch"],
        "args": artifact,
        "volumeMounts": [{**mount, "readOnly": False} for mount in server["volumeMounts"]],
    }


def _deployment(here: Scene, *, fault: str) -> Manifest:
    """Return the student's Deployment; another fault is another revision of it."""
    image = images.image(here.cluster, "server")
    env = {"PYTHONPATH": moving.SEARCHED, "HOME": "/scratch", "TMPDIR": "/scratch"}
    if fault:
        env["FAULT"] = fault
    container = {
        "name": "server",
        "image": image,
        "args": ["--model", "/artifact/models", "--served-model-name", NAME, "--port", str(PORT)],
        "ports": [{"name": "http", "containerPort": PORT}],
        "env": [{"name": name, "value": value} for name, value in env.items()],
        "resources": moving.SMALL,
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": PORT}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "scratch", "mountPath": "/scratch"},
            {"name": "model", "mountPath": "/artifact", "readOnly": True},
        ],
    }
    pod = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        # Flagger copies the Deployment with the Kubernetes of its time, and loses image volumes.
        "initContainers": [_fetcher(here, container)],
        "containers": [container],
        "volumes": [
            {"name": "scratch", "emptyDir": {}},
            {"name": "model", "emptyDir": {}},
        ],
    }
    annotations = {"prometheus.io/scrape": "true", "prometheus.io/port": str(PORT)}
    metadata = {"labels": {"app": NAME}, "annotations": annotations}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": NAME}},
            "template": {"metadata": metadata, "spec": pod},
        },
    }
