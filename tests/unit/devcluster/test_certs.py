"""Certificates are ones that TLS accepts, for the names that they are for."""

import datetime as dt
import ipaddress
import stat
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from devcluster import certs, pki
from devcluster.certs import Pair, Subject

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture(scope="module")
def ca() -> Pair:
    return certs.authority("test-ca", now=NOW)


def _verify(ca: Pair, pair: Pair, subject: x509.GeneralName) -> None:
    assert isinstance(subject, x509.DNSName | x509.IPAddress)
    policy = PolicyBuilder().store(Store([ca.certificate])).time(NOW)
    policy.build_server_verifier(subject).verify(pair.certificate, [])


def test_a_server_is_verified_under_each_of_its_names(ca: Pair) -> None:
    pair = certs.issue(ca, Subject("server", names=("node-1", "198.51.100.11")), now=NOW)
    _verify(ca, pair, x509.DNSName("node-1"))
    _verify(ca, pair, x509.IPAddress(ipaddress.ip_address("198.51.100.11")))


def test_a_server_is_refused_under_another_name(ca: Pair) -> None:
    pair = certs.issue(ca, Subject("server", names=("node-1",)), now=NOW)
    with pytest.raises(VerificationError):
        _verify(ca, pair, x509.DNSName("node-2"))


def test_another_authority_is_not_trusted(ca: Pair) -> None:
    pair = certs.issue(ca, Subject("server", names=("node-1",)), now=NOW)
    with pytest.raises(VerificationError):
        _verify(certs.authority("test-ca", now=NOW), pair, x509.DNSName("node-1"))


def test_a_client_is_its_user_and_groups_and_no_server(ca: Pair) -> None:
    certificate = certs.issue(ca, Subject("ann", ("staff", "ops")), now=NOW).certificate
    name = certificate.subject
    assert [a.value for a in name.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["ann"]
    groups = name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    assert [a.value for a in groups] == ["staff", "ops"]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert ExtendedKeyUsageOID.SERVER_AUTH not in usage


def test_keys_are_for_the_owner_only(tmp_path: Path) -> None:
    pki.ensure(tmp_path)
    pki.ensure_node(tmp_path, "node-1")
    secrets = [*tmp_path.glob("*.key"), *tmp_path.glob("*.kubeconfig")]
    assert len(secrets) > 10
    assert {stat.S_IMODE(file.stat().st_mode) for file in secrets} == {0o600}


def test_a_second_start_keeps_the_certificates(tmp_path: Path) -> None:
    pki.ensure(tmp_path)
    before = (tmp_path / "ca.crt").read_bytes()
    pki.ensure(tmp_path)
    assert (tmp_path / "ca.crt").read_bytes() == before


def test_an_addon_gets_its_certificate_from_a_cluster_that_was_raised_before_it(
    tmp_path: Path,
) -> None:
    pki.ensure(tmp_path)
    authority, (name,) = (tmp_path / "ca.crt").read_bytes(), pki.ADDONS
    (tmp_path / f"{name}.kubeconfig").unlink()
    pki.ensure(tmp_path)
    assert "prometheus" in (tmp_path / f"{name}.kubeconfig").read_text()
    assert (tmp_path / "ca.crt").read_bytes() == authority


def test_an_interrupted_start_makes_them_anew(tmp_path: Path) -> None:
    pki.ensure(tmp_path)
    pki.ensure_node(tmp_path, "node-1")
    before = (tmp_path / "ca.crt").read_bytes()
    (tmp_path / "complete").unlink()
    pki.ensure(tmp_path)
    assert (tmp_path / "ca.crt").read_bytes() != before
    assert not (tmp_path / "node-1.kubeconfig").exists()
    issuer = certs.read(tmp_path, "ca").certificate
    certs.read(tmp_path, "prometheus").certificate.verify_directly_issued_by(issuer)
    assert (tmp_path / "complete").exists()


def test_a_kubelet_is_its_node(tmp_path: Path) -> None:
    pki.ensure(tmp_path)
    pki.ensure_node(tmp_path, "node-2")
    subject = certs.read(tmp_path, "node-2").certificate.subject
    assert subject.rfc4514_string() == "CN=system:node:node-2,O=system:nodes"


def test_a_kubeconfig_is_complete_in_itself(tmp_path: Path) -> None:
    pki.ensure(tmp_path)
    config = yaml.safe_load((tmp_path / "admin.kubeconfig").read_text())
    assert config["clusters"][0]["cluster"]["server"] == "https://198.51.100.1:6443"
    assert "certificate-authority-data" in config["clusters"][0]["cluster"]
    assert {"client-certificate-data", "client-key-data"} == config["users"][0]["user"].keys()
