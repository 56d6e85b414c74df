"""Raise a cluster: a transaction that undoes itself when a step fails."""

import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from devcluster import (
    addons,
    busybox,
    certs,
    kubectl,
    network,
    nodes,
    pki,
    ports,
    process,
    state,
    store,
)
from devcluster.components import (
    Component,
    Context,
    apiserver,
    containerd,
    controller_manager,
    coredns,
    etcd,
    kube_proxy,
    kubelet,
    provisioner,
    scheduler,
)
from devcluster.errors import ClusterError
from devcluster.process import Running
from devcluster.site import Site
from devcluster.state import Description

MANIFESTS = Path(__file__).parent / "manifests"


@dataclass(frozen=True, slots=True)
class Raising:
    """One attempt to raise a cluster; every start registers how it is undone."""

    context: Context
    undo: ExitStack
    say: Callable[[str], None]

    def start(self, component: Component) -> Running:
        """Start a component, or leave it where it already runs."""
        paths, name = self.context.paths, component.spec.name
        known = state.processes(paths).get(name)
        if known and process.alive(known):
            return known
        for port in component.ports:
            ports.require_free(port, name)
        _write_files(component)
        running = process.start(component.spec, logs=paths.logs)
        process.save(running, paths.processes)
        self.undo.callback(process.stop, running, grace_seconds=2)
        return running


def bring_up(raising: Raising, description: Description, *, new: frozenset[str]) -> None:
    """Make every part of the cluster run, starting only what does not.

    new: nodes that this cluster has not had before, whose disks may hold another one's containers.
    """
    context, say = raising.context, raising.say
    pki.ensure(context.paths.pki)
    if not network.exists(network.BRIDGE):
        raising.undo.callback(network.delete, network.BRIDGE)
        network.run(network.raise_bridge())
    say("starting the control plane ...")
    process.wait_healthy(raising.start(etcd.component(context)))
    server = raising.start(apiserver.component(context))
    holders = [(node, start_holder(raising, node)) for node in description.nodes]
    for node, enter in holders:
        raising.start(containerd.component(context, node, enter))
    process.wait_healthy(server)
    _publish_kubeconfig(context)
    # First of all: CoreDNS is not healthy before it may read services.
    _apply_manifests(context, description)
    waiting = [raising.start(component) for component in _helpers(context, description)]
    for node, enter in holders:
        say(f"starting {node} ...")
        waiting += start_node_parts(raising, node, enter, new=node in new)
    wait_healthy(waiting)
    wait_ready(context, description.nodes)
    stores = tuple(containerd.ctr(context, enter) for _, enter in holders)
    addons.install(Site(context, stores, say), description.addons)


def start_holder(raising: Raising, node: str) -> tuple[str, ...]:
    """Start a node's namespaces and links, or find them; return the command that enters it."""
    paths = raising.context.paths
    known = state.processes(paths).get(node)
    if known and process.alive(known):
        return nodes.await_mounts(known)
    nodes.prepare(paths, node)
    pki.ensure_node(paths.pki, node)
    raising.undo.callback(nodes.clean_up, node)
    holder = raising.start(Component(nodes.spec(paths, node)))
    enter = nodes.await_mounts(holder)
    network.run(network.attach(node, nodes.first_pid(holder)))
    return enter


def start_node_parts(
    raising: Raising, node: str, enter: tuple[str, ...], *, new: bool
) -> list[Running]:
    """Start containerd, kubelet and kube-proxy in a node, with the images the cluster needs."""
    context = raising.context
    ctr = containerd.ctr(context, enter)
    runtime = raising.start(containerd.component(context, node, enter))
    process.wait_healthy(runtime)
    if new and store.forget_containers(ctr):
        # containerd holds what it found at its start in memory; begin again without it.
        process.stop(runtime)
        cri = context.paths.node_containerd(node) / "io.containerd.grpc.v1.cri"
        shutil.rmtree(cri, ignore_errors=True)
        runtime = raising.start(containerd.component(context, node, enter))
        process.wait_healthy(runtime)
    if not {busybox.REFERENCE, busybox.PAUSE_REFERENCE} <= store.images(ctr):
        store.import_bytes(ctr, busybox.archive(busybox.find()))
    parts = (kubelet, kube_proxy)
    return [raising.start(part.component(context, node, enter)) for part in parts]


def wait_ready(context: Context, wanted: tuple[str, ...]) -> None:
    """Wait until these nodes are Ready and a namespace gets its service account."""
    names = [f"node/{node}" for node in wanted]
    _patiently(context, "wait", "--for=condition=Ready", "--timeout=60s", *names)
    _patiently(context, "get", "serviceaccount", "default", "--namespace=default")


def wait_healthy(running: list[Running]) -> None:
    """Wait for all of these."""
    for one in running:
        process.wait_healthy(one)


def _patiently(context: Context, *words: str, seconds: float = 60) -> None:
    """Run kubectl until it succeeds: what it asks for may not exist yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            _kubectl(context, *words)
        except ClusterError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def _kubectl(context: Context, *words: str) -> None:
    program = context.binaries.find("kubernetes", "kubectl")
    kubectl.run(program, context.paths.kubeconfig, *words)


def _helpers(context: Context, description: Description) -> list[Component]:
    """Return what works with the API server from the host."""
    return [
        controller_manager.component(context),
        scheduler.component(context),
        coredns.component(context, upstream=_has_name_server()),
        provisioner.component(context),
        *addons.components(context, description.addons),
    ]


def _publish_kubeconfig(context: Context) -> None:
    content = Path(context.pki("admin.kubeconfig")).read_bytes()
    certs.write_secret(context.paths.kubeconfig, content)


def _apply_manifests(context: Context, description: Description) -> None:
    files = [MANIFESTS / "system.yaml"]
    files += [MANIFESTS / f"{name}.yaml" for name in description.addons]
    for file in files:
        _kubectl(context, "apply", "--server-side", "--filename", str(file))


def _has_name_server() -> bool:
    file = Path("/etc/resolv.conf")
    return file.exists() and "nameserver" in file.read_text()


def _write_files(component: Component) -> None:
    for file, content in component.files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
