"""Make a Gateway for a test or the demo, and say where it is reached."""

import json
import socket
import time
from dataclasses import dataclass
from typing import Any

from devcluster import kubectl
from devcluster.cluster import Cluster
from devcluster.errors import ClusterError

STATS_PORT = 19001
OWNER = "gateway.envoyproxy.io/owning-gateway"


@dataclass(frozen=True, slots=True)
class Gateway:
    """A Gateway that serves."""

    cluster: Cluster
    namespace: str
    name: str
    address: str
    """host:port, for host and pods alike."""

    @property
    def url(self) -> str:
        """Where requests go."""
        return f"http://{self.address}"

    @property
    def stats(self) -> tuple[str, ...]:
        """Return the page with Envoy's counters of each running proxy, for host and pods alike."""
        of = f"{OWNER}-namespace={self.namespace},{OWNER}-name={self.name}"
        found = self.cluster.kubectl(
            *("get", "pods", "--all-namespaces", f"--selector={of}", "--output=json"),
            "--field-selector=status.phase=Running",
        )
        addresses = [pod["status"]["podIP"] for pod in json.loads(found)["items"]]
        return tuple(f"http://{address}:{STATS_PORT}/stats/prometheus" for address in addresses)


def make(cluster: Cluster, namespace: str, name: str = "edge", *, port: int = 80) -> Gateway:
    """Make a Gateway with one HTTP listener and wait until its proxy serves.

    Routes of its own namespace may attach to it. It goes with the namespace.
    """
    if not cluster.gateway_class:
        raise ClusterError(
            "this cluster has no gateway: raise it by `python -m devcluster up --with gateway`, "
            "or name a foreign cluster's GatewayClass in KUBEDISTILL_GATEWAY_CLASS"
        )
    wanted = manifest(name, cluster.gateway_class, port)
    here = f"--namespace={namespace}"
    cluster.kubectl("apply", "--filename", "-", here, stdin=kubectl.manifest(wanted))
    cluster.kubectl("wait", "--for=condition=Programmed", f"gateway/{name}", here, "--timeout=120s")
    where = "--output=jsonpath={.status.addresses[0].value}"
    address = cluster.kubectl("get", "gateway", name, here, where)
    if cluster.paths:  # a foreign cluster's services may be out of this machine's reach
        _await_listener(address, port)
    return Gateway(cluster, namespace, name, f"{address}:{port}")


def _await_listener(address: str, port: int, seconds: float = 30) -> None:
    """Return once the proxy listens: the nodes learn of it some moments after the Gateway."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((address, port), timeout=1).close()
        except OSError as refusal:
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"nobody listens at {address}:{port} after {seconds:.0f} s ({refusal}); see "
                    f"the proxies by `kubectl get pods --all-namespaces --selector {OWNER}-name`"
                ) from refusal
            time.sleep(0.1)
        else:
            return


def manifest(name: str, gateway_class: str, port: int) -> dict[str, Any]:
    """Return the Gateway."""
    listener = {"name": "http", "protocol": "HTTP", "port": port}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name},
        "spec": {"gatewayClassName": gateway_class, "listeners": [listener]},
    }
