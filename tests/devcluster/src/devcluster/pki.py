"""Which certificates the cluster needs, and the kubeconfigs made from them."""

import base64
import datetime as dt
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from devcluster import addresses, certs, ports
from devcluster.certs import Subject

SERVER = f"https://{ports.API_SERVER}"
KUBELET_CLIENT = "kube-apiserver-kubelet-client"

SUBJECTS = {
    "apiserver": Subject(
        "kube-apiserver",
        names=(
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            f"kubernetes.default.svc.{addresses.DOMAIN}",
            "localhost",
            ports.LOOPBACK,
            str(addresses.API_SERVICE),
            str(addresses.HOST),
        ),
    ),
    # One serving certificate for the control plane's own loopback ports.
    "loopback": Subject("control-plane", names=(ports.LOOPBACK,)),
    "apiserver-kubelet-client": Subject(KUBELET_CLIENT),
    "admin": Subject("admin", ("system:masters",)),
    "controller-manager": Subject("system:kube-controller-manager"),
    "scheduler": Subject("system:kube-scheduler"),
    "kube-proxy": Subject("system:kube-proxy"),
    "coredns": Subject("coredns"),
    "local-path-provisioner": Subject("local-path-provisioner"),
    "prometheus": Subject("prometheus"),
}
KUBECONFIGS = (
    "admin",
    "controller-manager",
    "scheduler",
    "kube-proxy",
    "coredns",
    "local-path-provisioner",
    "prometheus",
)


def kubelet_subject(node: str) -> Subject:
    """Return whom a kubelet's certificate is for: its node as client, its address as server."""
    names = (node, str(addresses.node_address(node)))
    return Subject(f"system:node:{node}", ("system:nodes",), names)


def ensure(folder: Path) -> None:
    """Write the control plane's certificates and kubeconfigs unless they are there."""
    if (folder / "complete").exists():
        return
    now = dt.datetime.now(dt.UTC)
    ca, front_proxy = (certs.authority(f"devcluster-{n}", now=now) for n in ("ca", "front-proxy"))
    certs.write(folder, "ca", ca)
    certs.write(folder, "front-proxy-ca", front_proxy)
    proxy_client = certs.issue(front_proxy, Subject("front-proxy-client"), now=now)
    certs.write(folder, "front-proxy-client", proxy_client)
    for name, subject in SUBJECTS.items():
        certs.write(folder, name, certs.issue(ca, subject, now=now))
    for name in KUBECONFIGS:
        write_kubeconfig(folder, name)
    _write_service_account_key(folder)
    (folder / "complete").touch()


def ensure_node(folder: Path, node: str) -> None:
    """Write one kubelet's certificate and kubeconfig unless they are there."""
    if not (folder / f"{node}.kubeconfig").exists():
        now = dt.datetime.now(dt.UTC)
        pair = certs.issue(certs.read(folder, "ca"), kubelet_subject(node), now=now)
        certs.write(folder, node, pair)
        write_kubeconfig(folder, node)


def write_kubeconfig(folder: Path, name: str) -> None:
    """Write NAME.kubeconfig from NAME's certificate."""
    content = yaml.safe_dump(
        kubeconfig(
            name,
            ca=(folder / "ca.crt").read_bytes(),
            certificate=(folder / f"{name}.crt").read_bytes(),
            key=(folder / f"{name}.key").read_bytes(),
        )
    )
    certs.write_secret(folder / f"{name}.kubeconfig", content.encode())


def kubeconfig(name: str, *, ca: bytes, certificate: bytes, key: bytes) -> dict[str, Any]:
    """Return a kubeconfig with everything inside, so that it may be copied anywhere."""
    user = {
        "client-certificate-data": base64.b64encode(certificate).decode(),
        "client-key-data": base64.b64encode(key).decode(),
    }
    server = {"server": SERVER, "certificate-authority-data": base64.b64encode(ca).decode()}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "devcluster", "cluster": server}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "devcluster", "context": {"cluster": "devcluster", "user": name}}],
        "current-context": "devcluster",
    }


def _write_service_account_key(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certs.write_secret(folder / "service-accounts.key", certs.key_pem(key))
    (folder / "service-accounts.pub").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
