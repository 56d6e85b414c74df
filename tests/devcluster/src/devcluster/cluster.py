"""The development cluster as tests and the demo see it."""

import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from devcluster import (
    addons,
    addresses,
    kubectl,
    network,
    nodes,
    paths,
    process,
    programs,
    raising,
    requirements,
    state,
    store,
)
from devcluster.addons import gateway
from devcluster.components import Context, containerd, prometheus, registry
from devcluster.errors import ClusterError, NotOurs
from devcluster.paths import Paths
from devcluster.process import Running
from devcluster.state import Description

VARIABLES = ("KUBEDISTILL_REGISTRY", "KUBEDISTILL_GATEWAY_CLASS", "KUBEDISTILL_PROMETHEUS")
"""What `env` says of the add-ons, and what is read beside a foreign cluster's KUBECONFIG."""


def say_to_stderr(sentence: str) -> None:
    """Progress for a person; standard output is for results."""
    print(f"devcluster: {sentence}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster: ours, or the one that KUBECONFIG names."""

    kubeconfig: Path
    registry: str
    """host:port of the registry, the same for host, nodes and pods; empty where there is none."""
    paths: Paths | None
    """Files of our own cluster; None for a foreign one."""
    gateway_class: str = ""
    """GatewayClass for tests; empty where no gateway is known."""
    prometheus: str = ""
    """URL of Prometheus, the same for host and pods; empty where there is none."""

    @classmethod
    def attach_or_up(cls, nodes: int = 1, addons: Iterable[str] = ()) -> "Cluster":
        """Return the cluster of KUBECONFIG, else ours, raised or grown to what is asked for."""
        ours = paths.default()
        given = os.environ.get("KUBECONFIG")
        if given and Path(given).absolute() != ours.kubeconfig.absolute():
            told = (os.environ.get(name, "") for name in VARIABLES)
            return cls(Path(given), next(told), None, *told)
        return up(nodes=nodes, wanted=addons)

    @classmethod
    def attach(cls) -> "Cluster":
        """Our running cluster; raise when it is not up."""
        ours = paths.default()
        known = _describe(ours).addons
        return cls(
            ours.kubeconfig,
            registry.ADDRESS if "registry" in known else "",
            ours,
            gateway.CLASS if "gateway" in known else "",
            prometheus.URL if "prometheus" in known else "",
        )

    @property
    def description(self) -> Description:
        """What runs, with the paths of its programs."""
        return _describe(self._ours("looking into it"))

    @property
    def environment(self) -> dict[str, str]:
        """Variables that let programs of this machine use the cluster."""
        values = (self.registry, self.gateway_class, self.prometheus)
        known = {name: value for name, value in zip(VARIABLES, values, strict=True) if value}
        tools = {"KUBECONFIG": str(self.kubeconfig), VARIABLES[0]: self.registry, **known}
        if self.paths is None:
            return tools
        return {**tools, "PATH": self.description.binaries.search_path("kubernetes", "helm")}

    def kubectl(self, *words: str, stdin: str = "") -> str:
        """Run kubectl and return what it printed; raise with its message when it fails."""
        ours = self.paths is not None
        program = self.description.binaries.find("kubernetes", "kubectl") if ours else "kubectl"
        return kubectl.run(program, self.kubeconfig, *words, stdin=stdin)

    def load(self, image: Path) -> None:
        """Import a docker or OCI archive, or an OCI layout folder, into every node."""
        ours = self._ours("loading an image")
        for node in self.description.nodes:
            store.import_image(_ctr(ours, node), image)

    def stop(self, component: str) -> None:
        """Stop a component as a fault: `apiserver`, `registry`, `node-1/kubelet` ..."""
        ours = self._ours("stopping a component")
        with locked(ours):
            running = state.find(ours, component)
            process.save(replace(running, stopped=True), ours.processes)
            process.stop(running)

    def start(self, component: str) -> None:
        """Start a stopped component again and wait until it is healthy."""
        ours = self._ours("starting a component")
        with locked(ours):
            known = state.find(ours, component)
            if not process.alive(known):
                known = process.start(known.spec, logs=ours.logs)
                process.save(known, ours.processes)
            process.wait_healthy(known)

    def kill_node(self, node: str) -> None:
        """Lose a node at once, with everything that runs on it; its disk stays."""
        ours = self._ours("killing a node")
        with locked(ours):
            _kill_node(ours, self._node(node))

    def start_node(self, node: str) -> None:
        """Bring a lost node back with the disk that it had, and wait until it is Ready."""
        ours = self._ours("starting a node")
        with locked(ours), ExitStack() as undo:
            context = Context(ours, self.description.binaries)
            attempt = raising.Raising(context, undo, say_to_stderr)
            enter = raising.start_holder(attempt, self._node(node))
            parts = raising.start_node_parts(attempt, node, enter, new=False)
            raising.wait_healthy(parts)
            raising.wait_ready(context, (node,))
            undo.pop_all()

    def remove_node(self, node: str) -> None:
        """Take a node out of the cluster; its images stay on the disk for the next time."""
        ours = self._ours("removing a node")
        with locked(ours):
            _kill_node(ours, self._node(node))
            for name in [n for n in state.processes(ours) if n.partition("/")[0] == node]:
                state.forget(ours, name)
            known = self.description
            left = tuple(name for name in known.nodes if name != node)
            state.write(ours, replace(known, nodes=left))
        self.kubectl("delete", "node", node, "--ignore-not-found")

    def _node(self, name: str) -> str:
        known = self.description.nodes
        if name not in known:
            raise ClusterError(f"there is no node {name!r}; expected one of: {', '.join(known)}")
        return name

    def _ours(self, what: str) -> Paths:
        if self.paths is None:
            raise NotOurs(what)
        return self.paths


def up(
    *, nodes: int = 1, wanted: Iterable[str] = (), say: Callable[[str], None] = say_to_stderr
) -> Cluster:
    """Raise the cluster, or make a running one complete; undo everything if that fails."""
    chosen, names = addons.check(wanted), addresses.node_names(nodes)
    ours = paths.default()
    requirements.check()
    binaries = programs.build(ours.programs, say=say)
    with locked(ours), ExitStack() as undo:
        known = state.describe(ours)
        if known is None:
            _require_vacant(ours)
            undo.callback(_tear_down, ours)
            known = Description((), (), {})
        description = known.knowing(binaries.folders).grown(names, chosen)
        attempt = raising.Raising(Context(ours, description.binaries), undo, say)
        new = frozenset(description.nodes) - frozenset(known.nodes)
        raising.bring_up(attempt, description, new=new)
        state.write(ours, description)
        undo.pop_all()
    say(f"ready: {', '.join(description.nodes)}")
    return Cluster.attach()


def down() -> None:
    """Stop everything; leave no process, namespace, mount, link or cgroup behind."""
    ours = paths.default()
    with locked(ours):
        _tear_down(ours)


def status() -> list[tuple[str, str]]:
    """Each component and its condition; a dead one with its exit status and last log lines."""
    known = state.processes(paths.default())
    return [(name, _condition(running)) for name, running in known.items()]


@contextmanager
def locked(ours: Paths) -> Iterator[None]:
    """One change of the cluster at a time, whoever makes it."""
    ours.lock.parent.mkdir(parents=True, exist_ok=True)
    with ours.lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _condition(running: Running) -> str:
    if not process.alive(running):
        return "stopped" if running.stopped else process.obituary(running)
    return "healthy" if process.healthy(running.spec.health) else "not healthy"


def _describe(ours: Paths) -> Description:
    description = state.describe(ours)
    if description is None:
        raise ClusterError("the development cluster is not up: run `python -m devcluster up`")
    return description


def _ctr(ours: Paths, node: str) -> tuple[str, ...]:
    holder = state.find(ours, node)
    if not process.alive(holder):
        raise ClusterError(f"{node} is down: run `python -m devcluster node start {node}`")
    context = Context(ours, _describe(ours).binaries)
    return containerd.ctr(context, nodes.enter(nodes.first_pid(holder)))


def _kill_node(ours: Paths, node: str) -> None:
    """Kill a node's first process, and with it all others; then remove what is left outside."""
    known = state.processes(ours)
    holder_first = sorted(
        (name for name in known if name == node or name.startswith(f"{node}/")), key=len
    )
    for name in holder_first:
        process.save(replace(known[name], stopped=True), ours.processes)
        process.kill(known[name])
    nodes.clean_up(node)


def _require_vacant(ours: Paths) -> None:
    """Raise when a cluster runs here that our records do not know; undoing would hurt it."""
    if network.exists(network.BRIDGE) and not ours.state.exists():
        raise ClusterError(
            f"this machine has the link {network.BRIDGE}, but no cluster is recorded in "
            f"{ours.state}: take the other one down with its XDG_CACHE_HOME, or, if none runs, "
            f"`ip link delete {network.BRIDGE}`"
        )


def _tear_down(ours: Paths) -> None:
    if not ours.state.exists():  # nothing of ours; the link may be another cluster's
        return
    known = state.processes(ours)
    for node in [name for name in known if network.is_node(name)]:
        _kill_node(ours, node)
    # The API server last but one: the others would only complain about its absence.
    for running in reversed(known.values()):
        process.stop(running, grace_seconds=5)
    network.delete(network.BRIDGE)
    nodes.remove_mount_points(ours)
    shutil.rmtree(ours.state, ignore_errors=True)
