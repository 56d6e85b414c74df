"""What every example needs: the images on the nodes, and the operator in its namespace."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from devcluster import Cluster
from devcluster.images import loading, recipe
from devcluster.kubectl import manifest
from kubernetes import client, config
from urllib3 import Retry

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "kubedistill-system"
NAMESPACE = "demo"
IMAGES = {"image": "operator", "trainerImage": "trainer", "serverImage": "server"}
"""Value of the chart to image."""


def step[Result](title: str, act: Callable[[], Result]) -> Result:
    """Run a step and print how long it took."""
    print(f"== {title}", flush=True)
    started = time.monotonic()
    result = act()
    print(f"   {title}: {time.monotonic() - started:.0f} s", flush=True)
    return result


def load_images(cluster: Cluster) -> None:
    """Build what is not built and bring it to the nodes."""
    for name in IMAGES.values():
        loading.bring(cluster, name, ROOT)


def operator(cluster: Cluster) -> None:
    """Install or upgrade the chart, in a namespace under the strictest pod security."""
    # Only this namespace, so that operators of tests on the same cluster are left alone.
    values = ["--set", f"watchNamespaces={{{NAMESPACE}}}"]
    values += ["--set-string", f"operator.logLevel={os.environ.get('LOG_LEVEL', 'INFO')}"]
    for key, name in IMAGES.items():
        repository, _, tag = recipe.names(recipe.named(name, "cpu"), ROOT).image.rpartition(":")
        registry, _, path = repository.partition("/")
        values += ["--set-string", f"{key}.registry={registry},{key}.repository={path}"]
        values += ["--set-string", f"{key}.tag={tag}"]
    for namespace in (SYSTEM, NAMESPACE):
        cluster.kubectl("apply", "-f", "-", stdin=restricted(namespace))
    # A definition that came by `kubectl apply -f crds/` is handed over to the chart.
    helm = ["helm", "upgrade", "--install", "--take-ownership", "--force-conflicts"]
    helm += ["--namespace", SYSTEM, "--wait", "--timeout", "5m"]
    subprocess.run(
        [*helm, "kubedistill", str(ROOT / "charts" / "kubedistill"), *values],
        env={**os.environ, **cluster.environment},
        check=True,
        stdout=subprocess.DEVNULL,
    )


def restricted(namespace: str) -> str:
    """Return a namespace whose pods must satisfy the standard `restricted`."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": namespace, "labels": labels}
    return manifest({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})


def objects(cluster: Cluster) -> client.CustomObjectsApi:
    """Return a client for DistillationJobs and DistilledModelRollouts.

    It asks again for a minute: the API server of a busy machine loses a connection now and then.
    """
    configuration = client.Configuration()
    config.load_kube_config(str(cluster.kubeconfig), client_configuration=configuration)
    configuration.retries = Retry(total=8, backoff_factor=0.5, backoff_max=20)
    return client.CustomObjectsApi(client.ApiClient(configuration))
