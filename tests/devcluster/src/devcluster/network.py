"""Links and routes of the cluster: a bridge on the host, a veth pair to each node."""

import subprocess
from collections.abc import Iterable

from devcluster import addresses
from devcluster.errors import ClusterError

BRIDGE = "kd0"
Command = tuple[str, ...]


def link(node: str) -> str:
    """Name of the host's end of a node's veth pair."""
    return f"kd-{node}"


def raise_bridge() -> list[Command]:
    """Commands that make the host's bridge."""
    width = addresses.NODES.prefixlen
    return [
        _ip("link", "add", BRIDGE, "type", "bridge"),
        _ip("address", "add", f"{addresses.HOST}/{width}", "dev", BRIDGE),
        _ip("link", "set", BRIDGE, "up"),
    ]


def attach(node: str, pid: int) -> list[Command]:
    """Commands on the host that connect the node whose first process is `pid`."""
    mine, host_end = str(addresses.node_address(node)), link(node)
    services, order = str(addresses.SERVICES), str(addresses.node_number(node))
    return [
        _ip("link", "add", host_end, "type", "veth", "peer", "name", "eth0", "netns", str(pid)),
        _ip("link", "set", host_end, "master", BRIDGE, "up"),
        *_inside(node, enter=("nsenter", "--target", str(pid), "--net")),
        # Let the host reach pods, and services by the kube-proxy of any node: the lowest counts.
        _ip("route", "replace", str(addresses.pod_range(node)), "via", mine, "dev", BRIDGE),
        _ip("route", "replace", services, "via", mine, "dev", BRIDGE, "metric", order),
    ]


def _inside(node: str, enter: Command) -> list[Command]:
    mine, width = str(addresses.node_address(node)), addresses.NODES.prefixlen
    services = str(addresses.SERVICES)
    others = [n for n in addresses.node_names(addresses.MAX_NODES) if n != node]
    plan = [
        _ip("link", "set", "lo", "up"),
        _ip("address", "add", f"{mine}/{width}", "dev", "eth0"),
        _ip("link", "set", "eth0", "up"),
        # A service address needs a route before kube-proxy can rewrite it. An empty bridge makes
        # sure that an address that kube-proxy does not know yet never leaves the node.
        _ip("link", "add", "services", "type", "bridge"),
        _ip("link", "set", "services", "up"),
        _ip("route", "add", services, "dev", "services", "src", mine),
        *(
            _ip("route", "add", str(addresses.pod_range(n)), "via", str(addresses.node_address(n)))
            for n in others
        ),
    ]
    return [(*enter, *command) for command in plan]


def is_node(process_name: str) -> bool:
    """Whether a recorded process holds a node."""
    return process_name in addresses.node_names(addresses.MAX_NODES)


def exists(name: str) -> bool:
    """Whether the host has this link."""
    done = subprocess.run(_ip("link", "show", name), capture_output=True, check=False)
    return done.returncode == 0


def delete(name: str) -> None:
    """Remove a link of the host if it is there; its routes go with it."""
    # A dying node takes its link along at a moment of its own choosing: ask only afterwards.
    done = subprocess.run(_ip("link", "delete", name), capture_output=True, text=True, check=False)
    if done.returncode and exists(name):
        raise ClusterError(f"the link {name} cannot be removed: {done.stderr.strip()}")


def run(commands: Iterable[Command]) -> None:
    """Run commands in order, stop at the first that fails."""
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ClusterError(
                f"`{' '.join(command)}` ended with exit status {done.returncode}: "
                f"{done.stderr.strip() or done.stdout.strip()}"
            )


def _ip(*words: str) -> Command:
    return ("ip", *words)
