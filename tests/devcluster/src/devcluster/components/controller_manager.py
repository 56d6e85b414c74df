"""kube-controller-manager: Jobs, Deployments, garbage collection, lost nodes."""

from devcluster import ports
from devcluster.components import Component, Context, flags
from devcluster.process import Health, Spec


def component(context: Context) -> Component:
    """One controller manager, without leader election: there is no second one."""
    port, kubeconfig = ports.CONTROLLER_MANAGER, context.pki("controller-manager.kubeconfig")
    options = flags(
        kubeconfig=kubeconfig,
        authentication_kubeconfig=kubeconfig,
        authorization_kubeconfig=kubeconfig,
        bind_address=port.address,
        secure_port=port.number,
        tls_cert_file=context.pki("loopback.crt"),
        tls_private_key_file=context.pki("loopback.key"),
        leader_elect=False,
        use_service_account_credentials=True,
        service_account_private_key_file=context.pki("service-accounts.key"),
        # Published to every namespace: without it pods cannot verify the API server.
        root_ca_file=context.pki("ca.crt"),
        cluster_signing_cert_file=context.pki("ca.crt"),
        cluster_signing_key_file=context.pki("ca.key"),
        # A lost node is noticed in the time that a test can wait.
        node_monitor_grace_period="20s",
        node_monitor_period="2s",
    )
    health = Health(f"https://{port}/healthz", ca=context.pki("ca.crt"))
    argv = (context.binaries.find("kubernetes", "kube-controller-manager"), *options)
    return Component(Spec("kube-controller-manager", argv, health), ports=(port,))
