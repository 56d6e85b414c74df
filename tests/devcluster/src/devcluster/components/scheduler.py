"""kube-scheduler: which node a pod runs on."""

from devcluster import ports
from devcluster.components import Component, Context, flags
from devcluster.process import Health, Spec


def component(context: Context) -> Component:
    """One scheduler with its default profile."""
    port, kubeconfig = ports.SCHEDULER, context.pki("scheduler.kubeconfig")
    options = flags(
        kubeconfig=kubeconfig,
        authentication_kubeconfig=kubeconfig,
        authorization_kubeconfig=kubeconfig,
        bind_address=port.address,
        secure_port=port.number,
        tls_cert_file=context.pki("loopback.crt"),
        tls_private_key_file=context.pki("loopback.key"),
        leader_elect=False,
    )
    health = Health(f"https://{port}/healthz", ca=context.pki("ca.crt"))
    argv = (context.binaries.find("kubernetes", "kube-scheduler"), *options)
    return Component(Spec("kube-scheduler", argv, health), ports=(port,))
