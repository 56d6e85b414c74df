"""One namespace of a real cluster, and objects of ours in it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from devcluster import Cluster
from distill_api import names
from kubernetes import client

OF = (names.GROUP, names.VERSION)


class Namespace:
    """kubectl within one namespace."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    def __call__(self, *words: str, stdin: str = "") -> str:
        """Run kubectl; return what it printed."""
        return self.cluster.kubectl("-n", self.name, *words, stdin=stdin)

    def get(self, *what: str) -> Any:
        """Return what kubectl gets, read from JSON."""
        return json.loads(self("get", *what, "-o", "json"))


def dismiss(cluster: Cluster, name: str) -> None:
    """Delete a namespace whose operator is gone: nobody else is left to let its rollouts go."""
    here, kind = Namespace(cluster, name), f"distilledmodelrollouts.{names.GROUP}"
    if cluster.kubectl("get", "crd", kind, "--ignore-not-found"):
        here("delete", kind, "--all", "--wait=false")
        for rollout in here.get(kind)["items"]:
            free = json.dumps({"metadata": {"finalizers": None}})
            here("patch", kind, rollout["metadata"]["name"], "--type=merge", "--patch", free)
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@contextmanager
def stored(
    objects: client.CustomObjectsApi, plural: str, namespace: str, body: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield an object as the API server stored it; delete it afterwards."""
    made = objects.create_namespaced_custom_object(*OF, namespace, plural, body)
    yield made
    objects.delete_namespaced_custom_object(*OF, namespace, plural, made["metadata"]["name"])


def changed(
    objects: client.CustomObjectsApi, plural: str, made: dict[str, Any], spec: dict[str, Any]
) -> Any:
    """Return the object as a change of its spec would leave it; nothing is written."""
    meta = made["metadata"]
    return objects.patch_namespaced_custom_object(
        *OF, meta["namespace"], plural, meta["name"], {"spec": spec}, dry_run="All"
    )
