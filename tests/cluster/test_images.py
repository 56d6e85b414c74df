"""The images run as the charts and the operator run them: no root, nothing writable, no network."""

import json
from pathlib import Path
from typing import Any

import pytest
from devcluster import Cluster
from devcluster.images import build, recipe
from devcluster.images.places import Places

ROOT = Path(__file__).parents[2]
IMAGES = {name: recipe.named(name, "cpu") for name in recipe.NAMES}

# Each prints one JSON object, which the test compares with what it must be.
PROBES = {
    "operator": "import kopf, cryptography, distill_operator.handlers.app, distill_api",
    "trainer": (
        "import torch, sentence_transformers, oras, s3fs, ir_measures, matplotlib.pyplot; "
        "import distill_server.serving, distill_trainer, distill_api; "
        "from distill_trainer.distributed import zero; zero.library(torch.device('cpu')); "
        "assert not torch.cuda.is_available(); "
        "torch.nn.Linear(8, 4)(torch.ones(2, 8)).sum().backward()"
    ),
    "server": (
        "import onnxruntime, httptools, oras, s3fs, torch; import distill_server.__main__; "
        "import distill_server.serving; "
        "assert onnxruntime.get_available_providers()[-1] == 'CPUExecutionProvider'"
    ),
}
PROBE = """
import getpass, importlib.metadata, json, os
{imports}

def writable(folder):
    try:
        open(os.path.join(folder, "probe"), "w").close()
    except OSError:
        return False
    return True

folders = ["/", "/opt/kubedistill", "/workspace", "/tmp"]
print(json.dumps(dict(
    user=[os.getuid(), os.getgid(), getpass.getuser()],
    writable=[folder for folder in folders if writable(folder)],
    version=importlib.metadata.version("kubedistill"),
)))
"""


@pytest.fixture(scope="module", params=recipe.NAMES)
def image(request: pytest.FixtureRequest, cluster: Cluster) -> build.Built:
    built = build.ensure(IMAGES[request.param], ROOT, Places.of_user())
    cluster.load(built.layout)
    return built


def pod(image: build.Built, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return a pod as strict as ours: /tmp is its only writable folder."""
    locked = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    container = {
        "name": "main",
        "image": image.reference,
        "imagePullPolicy": "Never",
        "securityContext": locked,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - in the pod
        **arguments,
    }
    spec = {
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": spec}


def run(cluster: Cluster, space: str, manifest: dict[str, Any]) -> str:
    """Run the pod to its end and return what it printed."""
    cluster.kubectl("apply", "--namespace", space, "--filename", "-", stdin=json.dumps(manifest))
    done = "--for=jsonpath={.status.containerStatuses[0].state.terminated}"
    cluster.kubectl("wait", "--namespace", space, "pod/probe", done, "--timeout=400s")
    return cluster.kubectl("logs", "--namespace", space, "probe")


@pytest.mark.slow
def test_an_image_works_without_root_on_a_read_only_root(
    cluster: Cluster, space: str, image: build.Built
) -> None:
    name = image.reference.rpartition("/")[2].partition(":")[0]
    code = PROBE.format(imports=PROBES[name])
    printed = run(cluster, space, pod(image, {"command": ["python", "-c", code]}))
    assert json.loads(printed.splitlines()[-1]) == {
        "user": [65532, 65532, "kubedistill"],
        "writable": ["/tmp"],  # noqa: S108 - in the pod
        "version": "0.1.0",
    }
