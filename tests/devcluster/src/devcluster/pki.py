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
}
KUBECONFIGS = (
    "admin",
    "controller-manager",
    "scheduler",
    "kube-proxy",
    "coredns",
    "local-path-provisioner",
)
# Also for a cluster that was raised before its add-on existed.
ADDONS = ("prometheus",)


def kubelet_subject(node: str) -> Subject:
    """Return whom a kubelet's certificate is for: its node as client, its address as server."""
    names = (node, str(addresses.node_address(node)))
    return Subject(f"system:node:{node}", ("system:nodes",), names)


def ensure(folder: Path) -> None:
    """Write the control plane's certificates and kubeconfigs unless they are there."""
    if not (folder / "complete").exists():
        # What an interrupted start left is signed by another authority.
        for left in folder.glob("*.kubeconfig"):
            left.unlink()
        _write_all(folder)
    for name in ADDONS:
        _ensure_client(folder, name, Subject(name))


def ensure_node(folder: Path, node: str) -> None:
    """Write one kubelet's certificate and kubeconfig unless they are there."""
    _ensure_client(folder, node, kubelet_subject(node))


def _write_all(folder: Path) -> None:
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


def _ensure_client(folder: Path, name: str, subject: Subject) -> None:
    if not (folder / f"{name}.kubeconfig").exists():
        now = dt.datetime.now(dt.UTC)
        certs.write(folder, name, certs.issue(certs.read(folder, "ca"), subject, now=now))
        write_kubeconfig(folder, name)


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
