"""A node: network, mount, PID, UTS and IPC namespaces that live and die with one first process.

Killing that process kills everything inside, pods included: the clean-up and the "node lost"
fault are the same thing.
"""

import shlex
from pathlib import Path

from devcluster import cgroups, network, process
from devcluster.components import containerd, kubelet, provisioner
from devcluster.errors import ClusterError
from devcluster.paths import Paths
from devcluster.process import Health, Running, Spec

READY = "/run/node-ready"


def binds(paths: Paths, node: str) -> dict[str, Path]:
    """Return the node's own folders, by the path under which its programs know them."""
    state = paths.node_state(node)
    return {
        "/var/log": state / "log",
        kubelet.ROOT: state / "kubelet",
        provisioner.VOLUMES: state / "volumes",
        containerd.ROOT: paths.node_containerd(node),
    }


def first_process(paths: Paths, node: str) -> str:
    """Shell script of the node's first process: the node's mounts, then sleep for ever."""
    mounts = "\n".join(
        f"mount --bind {shlex.quote(str(source))} {target}"
        for target, source in binds(paths, node).items()
    )
    # containerd needs shared mounts. /run is memory: sockets and the pods' network namespaces
    # must not outlive the node. A child that its parent lost goes to this process, which never
    # waits; ignoring SIGCHLD makes the kernel collect it.
    return f"""set -eu
mount --make-rshared /
{mounts}
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/lock {provisioner.SMALL_VOLUMES}
mount -t tmpfs -o size={provisioner.SMALL_DISK_MIB}m tmpfs {provisioner.SMALL_VOLUMES}
hostname {node}
echo 1 > /proc/sys/net/ipv4/ip_forward
touch {READY}
exec env --ignore-signal=CHLD sleep infinity
"""


def spec(paths: Paths, node: str) -> Spec:
    """Return the process that holds the node's namespaces."""
    namespaces = ("--net", "--mount", "--pid", "--uts", "--ipc", "--mount-proc")
    script = first_process(paths, node)
    # What the host unmounts later goes here too, else this node would keep it busy.
    options = ("--propagation", "slave", "--fork", "--kill-child")
    argv = ("unshare", *namespaces, *options, "/bin/sh", "-c", script)
    return Spec(node, argv)


def prepare(paths: Paths, node: str) -> None:
    """Make the folders that the node binds, and the places where it binds them."""
    for target, source in binds(paths, node).items():
        source.mkdir(parents=True, exist_ok=True)
        Path(target).mkdir(parents=True, exist_ok=True)
    # A node that was killed may have left these behind.
    network.delete(network.link(node))
    cgroups.create(node)


def first_pid(holder: Running) -> int:
    """Return the node's first process as the host sees it: behind the shell and `unshare`."""
    pid = holder.pid
    for _ in range(2):
        children = process.children(pid)
        if not children:
            raise ClusterError(process.obituary(holder))
        pid = children[0]
    return pid


def enter(pid: int) -> tuple[str, ...]:
    """Return the command that enters the node.

    Not `ip netns exec`: that mounts a fresh /sys and hides the cgroups from the kubelet.
    """
    namespaces = ("--net", "--mount", "--pid", "--uts", "--ipc")
    return ("nsenter", "--target", str(pid), *namespaces, "--")


def await_mounts(holder: Running) -> tuple[str, ...]:
    """Wait until the node's mounts are made; return the command that enters it."""
    # The first process exists only some moments after `unshare` has started.
    while process.alive(holder):
        pid = _maybe_first_pid(holder)
        if pid and process.healthy(Health(command=(*enter(pid), "test", "-e", READY))):
            return enter(pid)
    raise ClusterError(process.obituary(holder))


def clean_up(node: str) -> None:
    """Remove what a dead node leaves on the host: its link and cgroups."""
    network.delete(network.link(node))
    cgroups.remove(node)


def remove_mount_points(paths: Paths) -> None:
    """Remove the folders that nodes mounted on, if they are empty.

    Only when no node lives: removing a folder unmounts what another namespace has there.
    """
    for target in binds(paths, "node-1"):
        _remove_if_empty(Path(target))


def _maybe_first_pid(holder: Running) -> int | None:
    try:
        return first_pid(holder)
    except ClusterError:
        return None


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # not empty: this machine's own
        return
