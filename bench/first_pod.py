"""From `kubectl apply` of a DistillationJob to its first pod, beside a plain Job's.

The difference is what the operator adds: admission, watching, planning, applying.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from devcluster import Cluster
from devcluster.images import recipe
from devcluster.kubectl import manifest
from distill_api import names
from kubernetes import client, config, watch

from examples.embedding import demo, fixtures, install
from examples.embedding.install import NAMESPACE, ROOT

LIMIT_SECONDS = 120
PREFIX = "bench-first-pod"
type Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FirstPod:
    """Seconds after the API server took the object."""

    created: float
    running: float


def measure(rounds: int) -> dict[str, list[FirstPod]]:
    """Apply a plain Job and a DistillationJob in turns, on the development cluster."""
    cluster = Cluster.attach_or_up(addons={"registry"})
    install.load_images(cluster)
    install.operator(cluster)
    pushed = fixtures.push(cluster.registry)
    example = demo.describe_job(demo.HERE / "job.yaml", cluster.registry, pushed)
    pods = client.CoreV1Api(config.new_client_from_config(str(cluster.kubeconfig)))
    found: dict[str, list[FirstPod]] = {"plain Job": [], "DistillationJob": []}
    for number in range(rounds):
        name = f"{PREFIX}-{number}"
        plain = _plain_job(name)
        found["plain Job"].append(_time(cluster, pods, plain, f"job-name={name}"))
        distil = {**example, "metadata": {**example["metadata"], "name": name}}
        label = f"{names.Label.JOB}={name}"
        found["DistillationJob"].append(_time(cluster, pods, distil, label))
    return found


def _time(cluster: Cluster, pods: client.CoreV1Api, wanted: Manifest, selector: str) -> FirstPod:
    """Apply an object, wait until its first pod runs, and delete it again."""
    with _applied(cluster, wanted, selector) as began:
        created = 0.0
        events = watch.Watch().stream(
            pods.list_namespaced_pod,
            NAMESPACE,
            label_selector=selector,
            timeout_seconds=LIMIT_SECONDS,
        )
        for event in events:
            passed = time.monotonic() - began
            created = created or passed
            if event["object"].status.phase in {"Running", "Succeeded"}:
                return FirstPod(created, passed)
    raise TimeoutError(
        f"no pod of {wanted['kind']} {wanted['metadata']['name']} ran within {LIMIT_SECONDS} s:"
        f" look at `kubectl -n {NAMESPACE} get events`"
    )


@contextmanager
def _applied(cluster: Cluster, wanted: Manifest, selector: str) -> Iterator[float]:
    """Give the time at which `kubectl apply` returned; delete the object and its pod afterwards.

    A pod that is still being ended has the processors that the next one waits for.
    """
    kind, name = wanted["kind"], wanted["metadata"]["name"]
    cluster.kubectl("apply", "-f", "-", stdin=manifest(wanted))
    try:
        yield time.monotonic()
    finally:
        cluster.kubectl("-n", NAMESPACE, "delete", kind, name, "--wait")
        ended = ("--for=delete", f"--timeout={LIMIT_SECONDS}s")
        cluster.kubectl("-n", NAMESPACE, "wait", "pod", "-l", selector, *ended)


def _plain_job(name: str) -> Manifest:
    """Make a Job of the trainer image that ends at once, under the same pod security."""
    container = {
        "name": "main",
        "image": recipe.names(recipe.named("trainer", "cpu"), ROOT).image,
        "command": ["/bin/true"],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"template": {"spec": pod}},
    }
