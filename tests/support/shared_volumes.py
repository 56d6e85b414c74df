"""Volumes that pods of several nodes mount: folders of this machine, which all nodes see."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from devcluster import Cluster


@contextmanager
def made(cluster: Cluster, storage_class: str, folder: Path, count: int) -> Iterator[list[Path]]:
    """Make volumes of a class for claims of 200 MiB; yield where they lie on this machine."""
    places = [folder / f"volume-{number}" for number in range(count)]
    names = [f"{storage_class}-{number}" for number in range(count)]
    for name, place in zip(names, places, strict=True):
        place.mkdir()
        place.chmod(0o777)
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(_volume(name, storage_class, place)))
    try:
        yield places
    finally:
        cluster.kubectl("delete", "pv", "--wait=false", *names)


def ask_for(spec: dict[str, Any], storage_class: str) -> None:
    """Let a job's claims ask for volumes of such a class."""
    spec["workspace"] |= {"accessMode": "ReadWriteMany", "storageClassName": storage_class}
    spec["workspace"]["labelCache"]["size"] = "200Mi"


def _volume(name: str, storage_class: str, place: Path) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "200Mi"},
            "accessModes": ["ReadWriteMany"],
            "storageClassName": storage_class,
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": str(place), "type": "Directory"},
        },
    }
