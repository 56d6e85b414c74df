"""The EndpointSlice that leads trainer pods to the replica that leads."""

from typing import Final

from distill_operator import errors
from distill_operator.effects.cluster import Cluster
from distill_operator.effects.kinds import ENDPOINT_SLICE
from distill_operator.plan.model import Manifest

NAME: Final = "kubedistill-progress-leader"
PORT_NAME: Final = "https"
"""Must be the name of the Service's port."""


def manifest(namespace: str, service: str, address: str, port: int) -> Manifest:
    """Return the slice that names one address."""
    return {
        "apiVersion": ENDPOINT_SLICE.api_version,
        "kind": ENDPOINT_SLICE.kind,
        "metadata": {
            "name": NAME,
            "namespace": namespace,
            "labels": {
                "kubernetes.io/service-name": service,
                "endpointslice.kubernetes.io/managed-by": "kubedistill.io",
            },
        },
        "addressType": "IPv6" if ":" in address else "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": PORT_NAME, "port": port, "protocol": "TCP"}],
    }


async def point_here(cluster: Cluster, wanted: Manifest) -> None:
    """Make the slice name this replica; nothing is written where it does already."""
    try:
        found = await cluster.get(ENDPOINT_SLICE, wanted["metadata"]["namespace"], NAME)
    except errors.Missing:
        await cluster.create(ENDPOINT_SLICE, wanted)
        return
    if found.get("addressType") != wanted["addressType"]:
        # The type of an existing slice cannot change.
        await cluster.delete(ENDPOINT_SLICE, found)
        await cluster.create(ENDPOINT_SLICE, wanted)
    elif any(not _same(found.get(part), wanted[part]) for part in ("endpoints", "ports")):
        await cluster.replace(ENDPOINT_SLICE, found | wanted | {"metadata": found["metadata"]})


def _same(found: object, wanted: list[Manifest]) -> bool:
    """Compare the entries' fields that we set; the API server may fill in others."""
    if not isinstance(found, list) or len(found) != len(wanted):
        return False
    return all(
        all(old.get(name) == value for name, value in new.items())
        for old, new in zip(found, wanted, strict=True)
    )
