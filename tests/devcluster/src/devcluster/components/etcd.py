"""etcd: where the API server keeps its objects."""

from devcluster import ports
from devcluster.components import Component, Context, flags
from devcluster.process import Health, Spec

URL = f"http://{ports.ETCD}"


def component(context: Context) -> Component:
    """One member, on loopback only."""
    peer = f"http://{ports.ETCD_PEER}"
    options = flags(
        name="devcluster",
        data_dir=context.paths.state / "etcd",
        listen_client_urls=URL,
        advertise_client_urls=URL,
        listen_peer_urls=peer,
        initial_advertise_peer_urls=peer,
        initial_cluster=f"devcluster={peer}",
        # The data lives as long as the cluster; waiting for the disk would only slow tests down.
        unsafe_no_fsync=True,
        log_level="warn",
    )
    spec = Spec("etcd", (context.binaries.find("etcd"), *options), Health(f"{URL}/health"))
    return Component(spec, ports=(ports.ETCD, ports.ETCD_PEER))
