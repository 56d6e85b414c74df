"""kube-apiserver: the door to everything."""

from devcluster import addresses, ports
from devcluster.components import Component, Context, etcd, flags
from devcluster.process import Health, Spec

ISSUER = f"https://kubernetes.default.svc.{addresses.DOMAIN}"
# Kubernetes waits five minutes before it gives up a lost node's pods; a test cannot.
TOLERATE_SECONDS = 30


def component(context: Context) -> Component:
    """One API server on the bridge, which host, nodes and pods reach under one address."""
    options = (*_serving(context), *_identities(context), *_kubelets(context))
    health = Health(f"https://{ports.API_SERVER}/readyz", ca=context.pki("ca.crt"))
    argv = (context.binaries.find("kubernetes", "kube-apiserver"), *options)
    return Component(Spec("kube-apiserver", argv, health), ports=(ports.API_SERVER,))


def _serving(context: Context) -> tuple[str, ...]:
    return flags(
        etcd_servers=etcd.URL,
        bind_address=ports.API_SERVER.address,
        secure_port=ports.API_SERVER.number,
        advertise_address=addresses.HOST,
        tls_cert_file=context.pki("apiserver.crt"),
        tls_private_key_file=context.pki("apiserver.key"),
        service_cluster_ip_range=addresses.SERVICES,
        allow_privileged=True,
        authorization_mode="Node,RBAC",
        enable_admission_plugins="NodeRestriction",
        default_not_ready_toleration_seconds=TOLERATE_SECONDS,
        default_unreachable_toleration_seconds=TOLERATE_SECONDS,
        # The host has no kube-proxy: webhooks are called at their pods' addresses.
        enable_aggregator_routing=True,
    )


def _identities(context: Context) -> tuple[str, ...]:
    return flags(
        client_ca_file=context.pki("ca.crt"),
        service_account_issuer=ISSUER,
        service_account_key_file=context.pki("service-accounts.pub"),
        service_account_signing_key_file=context.pki("service-accounts.key"),
        requestheader_client_ca_file=context.pki("front-proxy-ca.crt"),
        requestheader_allowed_names="front-proxy-client",
        requestheader_username_headers="X-Remote-User",
        requestheader_group_headers="X-Remote-Group",
        requestheader_extra_headers_prefix="X-Remote-Extra-",
        proxy_client_cert_file=context.pki("front-proxy-client.crt"),
        proxy_client_key_file=context.pki("front-proxy-client.key"),
    )


def _kubelets(context: Context) -> tuple[str, ...]:
    return flags(
        kubelet_certificate_authority=context.pki("ca.crt"),
        kubelet_client_certificate=context.pki("apiserver-kubelet-client.crt"),
        kubelet_client_key=context.pki("apiserver-kubelet-client.key"),
        kubelet_preferred_address_types="InternalIP",
    )
