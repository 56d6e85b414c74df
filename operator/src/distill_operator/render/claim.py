"""PersistentVolumeClaims: the job's own workspace, and the label cache of a namespace."""

from distill_api.job import Workspace

from distill_operator.render import labels
from distill_operator.render.order import Manifest, Owner

LABEL_CACHE = "kubedistill-labels"


def workspace(owner: Owner, wanted: Workspace, name: str) -> Manifest:
    """Return the claim that is made for a job and removed with it."""
    metadata = {
        "name": name,
        "namespace": owner.namespace,
        "labels": labels.of_owner(owner),
        "ownerReferences": labels.owned_by(owner),
    }
    return _claim(metadata, wanted, size=wanted.size, mode=wanted.access_mode)


def label_cache(owner: Owner, wanted: Workspace) -> Manifest:
    """Return the claim that the jobs of a namespace share; it belongs to none of them."""
    metadata = {"name": LABEL_CACHE, "namespace": owner.namespace, "labels": labels.shared()}
    several = "ReadWriteMany" if wanted.access_mode == "ReadWriteMany" else "ReadWriteOnce"
    return _claim(metadata, wanted, size=wanted.label_cache.size, mode=several)


def identity(namespace: str, name: str) -> Manifest:
    """Return a claim that exists and stays as it is."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
    }


def _claim(metadata: Manifest, wanted: Workspace, *, size: str, mode: str) -> Manifest:
    spec: Manifest = {"accessModes": [mode], "resources": {"requests": {"storage": size}}}
    if wanted.storage_class_name:
        spec["storageClassName"] = wanted.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": spec,
    }
