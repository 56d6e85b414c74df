"""Every port of the cluster, so that a taken one is reported before anything starts."""

import errno
import socket
from dataclasses import dataclass

from devcluster import addresses
from devcluster.errors import ClusterError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Port:
    """One listening socket on the host."""

    address: str
    number: int

    def __str__(self) -> str:
        return f"{self.address}:{self.number}"


ETCD = Port(LOOPBACK, 12379)
ETCD_PEER = Port(LOOPBACK, 12380)
API_SERVER = Port(str(addresses.HOST), 6443)
CONTROLLER_MANAGER = Port(LOOPBACK, 10257)
SCHEDULER = Port(LOOPBACK, 10259)
DNS = Port(str(addresses.HOST), 53)
DNS_READY = Port(LOOPBACK, 18181)
REGISTRY = Port(str(addresses.HOST), 5000)
PROMETHEUS = Port(str(addresses.HOST), 9090)

# On each node's own address.
KUBELET = 10250
KUBELET_HEALTH = 10248
KUBE_PROXY_HEALTH = 10256
KUBE_PROXY_METRICS = 10249


def require_free(port: Port, component: str) -> None:
    """Raise with a sentence when another program listens where `component` must."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((port.address, port.number))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise ClusterError(
                f"{component} needs port {port}, which another program uses; "
                f"find it with `ss -ltnp 'sport = :{port.number}'` and stop it"
            ) from error
