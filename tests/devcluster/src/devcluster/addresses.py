"""Addresses of the cluster: one bridge on the host, one /24 of pods for each node.

198.51.100.0/24 is reserved for documentation (RFC 5737), so it collides with no real network.
"""

import re
from ipaddress import IPv4Address, IPv4Network

NODES = IPv4Network("198.51.100.0/24")
PODS = IPv4Network("10.244.0.0/16")
SERVICES = IPv4Network("10.96.0.0/16")
HOST = IPv4Address("198.51.100.1")
API_SERVICE = IPv4Address("10.96.0.1")
DNS_SERVICE = IPv4Address("10.96.0.10")
DOMAIN = "cluster.local"
MAX_NODES = 9


def node_names(count: int) -> tuple[str, ...]:
    """Names of the first `count` nodes."""
    return tuple(f"node-{number}" for number in range(1, count + 1))


def node_number(node: str) -> int:
    """1 for `node-1`."""
    match = re.fullmatch(r"node-([1-9])", node)
    if match is None:
        raise ValueError(f"{node!r} is no node: expected node-1 to node-{MAX_NODES}")
    return int(match[1])


def node_address(node: str) -> IPv4Address:
    """Return the node's address on the bridge."""
    return NODES[10 + node_number(node)]


def pod_range(node: str) -> IPv4Network:
    """Return the node's own addresses for pods."""
    return list(PODS.subnets(new_prefix=24))[node_number(node)]
