"""The progress endpoint's own authority and certificate: made and renewed, without effects."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE: Final = timedelta(days=3650)
AUTHORITY_OVERLAP: Final = timedelta(days=365)
"""A new authority is made this long before the old one ends: pods keep the one they were made
with, and none runs for a year."""
LEAF_LIFE: Final = timedelta(days=90)
LEAF_RENEWAL: Final = timedelta(days=30)
SKEW: Final = timedelta(minutes=5)
"""Clocks of nodes may be late by this much."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Material:
    """Everything the endpoint needs."""

    authority: Identity
    leaf: Identity


def renewed(old: Material | None, hosts: Sequence[str], *, now: datetime) -> Material:
    """Return material that is good for a while: `old` itself, if it is.

    hosts: DNS names and addresses that pods use. Another list of hosts makes a new leaf.
    """
    authority = old.authority if old and _lasts(old.authority, AUTHORITY_OVERLAP, now) else None
    if old and authority and _covers(old.leaf, hosts) and _lasts(old.leaf, LEAF_RENEWAL, now):
        return old
    signer = authority or _authority(now)
    return Material(signer, _leaf(signer, hosts, now))


def _lasts(identity: Identity, at_least: timedelta, now: datetime) -> bool:
    return x509.load_pem_x509_certificate(identity.certificate).not_valid_after_utc - now > at_least


def _covers(leaf: Identity, hosts: Sequence[str]) -> bool:
    found = x509.load_pem_x509_certificate(leaf.certificate)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(names) == set(map(_name, hosts))


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _authority(now: datetime) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubedistill progress CA")])
    usage = _usage(cert_sign=True)
    built = (
        _certificate(subject, subject, key.public_key(), (now, AUTHORITY_LIFE))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return _identity(built, key)


def _leaf(authority: Identity, hosts: Sequence[str], now: datetime) -> Identity:
    signer = x509.load_pem_x509_certificate(authority.certificate)
    signer_key = serialization.load_pem_private_key(authority.key, password=None)
    if not isinstance(signer_key, ec.EllipticCurvePrivateKey):
        raise TypeError("the authority's key is not of the kind that this program makes")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubedistill progress")])
    names = x509.SubjectAlternativeName([_name(host) for host in hosts])
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer_key.public_key())
    built = (
        _certificate(subject, signer.subject, key.public_key(), (now, LEAF_LIFE))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(cert_sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(issuer_key, critical=False)
        .add_extension(names, critical=False)
        .sign(signer_key, hashes.SHA256())
    )
    return _identity(built, key)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    life: tuple[datetime, timedelta],
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(life[0] - SKEW)
        .not_valid_after(life[0] + life[1])
        # Python 3.13 verifies strictly and wants these identifiers.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, cert_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=cert_sign,
        crl_sign=cert_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _identity(built: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Identity:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Identity(built.public_bytes(serialization.Encoding.PEM), pem)
