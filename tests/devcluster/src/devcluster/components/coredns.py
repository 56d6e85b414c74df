"""CoreDNS: names of services and pods, served from the host behind the usual service address."""

from devcluster import addresses, ports
from devcluster.components import Component, Context
from devcluster.process import Health, Spec


def corefile(context: Context, *, upstream: bool) -> str:
    """CoreDNS's configuration; `upstream`: whether this machine itself has a name server."""
    forward = "forward . /etc/resolv.conf" if upstream else "# this machine has no name server"
    return f""".:{ports.DNS.number} {{
    bind {ports.DNS.address}
    errors
    ready {ports.DNS_READY}
    kubernetes {addresses.DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {context.pki("coredns.kubeconfig")}
        pods insecure
        ttl 5
        fallthrough in-addr.arpa ip6.arpa
    }}
    {forward}
    cache 5
}}
"""


def component(context: Context, *, upstream: bool) -> Component:
    """One server for all nodes; a process of the host, so that no image is needed for it."""
    file = context.paths.configs / "Corefile"
    argv = (context.binaries.find("coredns"), "-conf", str(file))
    health = Health(f"http://{ports.DNS_READY}/ready")
    return Component(
        Spec("coredns", argv, health),
        files={file: corefile(context, upstream=upstream)},
        ports=(ports.DNS, ports.DNS_READY),
    )
