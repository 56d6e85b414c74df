"""containerd: runs a node's containers and keeps its images."""

import json
from pathlib import Path

from devcluster import addresses, busybox
from devcluster.components import Component, Context, registry
from devcluster.process import Health, Spec

SOCKET = "/run/containerd/containerd.sock"
"""In the node's own /run: every node has this same path."""
ROOT = "/var/lib/containerd"
NAMESPACE = "k8s.io"
PLUGINS = "/usr/lib/cni"


def config(context: Context, node: str) -> str:
    """Return configuration of containerd, version 3."""
    folder = _folder(context, node)
    return f"""version = 3
root = "{ROOT}"
state = "/run/containerd"

[grpc]
address = "{SOCKET}"

[plugins."io.containerd.cri.v1.runtime"]
# Without CAP_SYS_RESOURCE nobody may lower an OOM score, and every sandbox would fail.
restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{PLUGINS}"]
conf_dir = "{folder / "cni"}"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "{context.binaries.find("runc")}"
SystemdCgroup = false

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{busybox.PAUSE_REFERENCE}"

[plugins."io.containerd.cri.v1.images".registry]
config_path = "{folder / "hosts"}"
"""


def network(node: str) -> str:
    """CNI configuration: each pod on a link of its own, routed.

    A bridge would be the usual choice, but there the answer of a service's endpoint on the same
    bridge does not pass the node's NAT unless the kernel has br_netfilter.
    """
    addresses_of_pods = {
        "type": "host-local",
        "dataDir": "/run/cni/addresses",
        "ranges": [[{"subnet": str(addresses.pod_range(node))}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugin = {"type": "ptp", "ipMasq": False, "ipam": addresses_of_pods}
    return json.dumps({"cniVersion": "1.0.0", "name": "devcluster", "plugins": [plugin]}, indent=2)


def plain_http() -> str:
    """hosts.toml of containerd for the cluster's registry."""
    server = f"http://{registry.ADDRESS}"
    return f'server = "{server}"\n\n[host."{server}"]\ncapabilities = ["pull", "resolve", "push"]\n'


def component(context: Context, node: str, enter: tuple[str, ...]) -> Component:
    """Return the node's containerd; `enter` is the command that enters the node."""
    folder = _folder(context, node)
    file = folder / "containerd.toml"
    argv = (*enter, context.binaries.find("containerd"), "--config", str(file))
    version = (*ctr(context, enter), "version")
    return Component(
        Spec(
            f"{node}/containerd",
            argv,
            Health(command=version),
            # containerd looks for its shim on PATH.
            env={"PATH": context.binaries.search_path("containerd")},
        ),
        files={
            file: config(context, node),
            folder / "cni" / "10-devcluster.conflist": network(node),
            folder / "hosts" / registry.ADDRESS / "hosts.toml": plain_http(),
        },
    )


def ctr(context: Context, enter: tuple[str, ...]) -> tuple[str, ...]:
    """Client of containerd, inside the node."""
    program = context.binaries.find("containerd", "ctr")
    return (*enter, program, "--address", SOCKET, "--namespace", NAMESPACE)


def _folder(context: Context, node: str) -> Path:
    return context.paths.configs / node
