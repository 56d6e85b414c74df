"""Keys that sign: cosign's own sealed form, PEM, and what is refused."""

import json
from base64 import b64encode

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from distill_trainer.publishing import signing
from nacl.secret import SecretBox

KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = KEY.public_key()
DIGEST = "sha256:" + "a" * 64


def sealed(password: bytes) -> str:
    """Seal the key as `cosign generate-key-pair` does, at a cost that a test can pay."""
    der = KEY.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    salt, nonce = b"s" * 32, b"n" * 24
    derived = Scrypt(salt=salt, length=32, n=1024, r=8, p=1).derive(password)
    content = {
        "kdf": {
            "name": "scrypt",
            "params": {"N": 1024, "r": 8, "p": 1},
            "salt": b64encode(salt).decode(),
        },
        "cipher": {"name": "nacl/secretbox", "nonce": b64encode(nonce).decode()},
        "ciphertext": b64encode(SecretBox(derived).encrypt(der, nonce).ciphertext).decode(),
    }
    body = b64encode(json.dumps(content).encode()).decode()
    lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    words = "ENCRYPTED SIGSTORE PRIVATE KEY"
    return f"-----BEGIN {words}-----\n{lines}\n-----END {words}-----\n"


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, password: bytes = b"") -> str:
    seal = serialization.BestAvailableEncryption(password) if password else None
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        seal or serialization.NoEncryption(),
    ).decode()


@pytest.mark.parametrize(
    ("text", "password"),
    [
        (sealed(b"hush"), "hush"),
        (sealed(b""), None),
        (pem(KEY), None),
        (pem(KEY, b"hush"), "hush"),
    ],
    ids=["cosign's", "cosign's without password", "PKCS#8", "PKCS#8 sealed"],
)
def test_keys_that_sign(text: str, password: str | None):
    payload = signing.payload("r.example.com/m/s", DIGEST)
    signature = signing.sign(signing.load(text, password), payload)
    assert signing.verified(PUBLIC, payload, signature)
    assert signing.claims(payload, DIGEST)
    assert signature == signing.sign(KEY, payload)


@pytest.mark.parametrize(
    ("text", "password", "why"),
    [
        (sealed(b"hush"), "hash", "cosign.password does not open it"),
        (pem(KEY, b"hush"), None, "cosign.password does not open it"),
        ("hush hush", None, "no private key in PEM"),
        (pem(ed25519.Ed25519PrivateKey.generate()), None, "not a key of ECDSA on P-256"),
        (pem(ec.generate_private_key(ec.SECP384R1())), None, "not a key of ECDSA on P-256"),
    ],
    ids=["wrong password", "no password", "no key", "Ed25519", "P-384"],
)
def test_keys_that_cannot_sign_are_told_without_their_text(
    text: str, password: str | None, why: str
):
    with pytest.raises(signing.BadKey, match=why) as caught:
        signing.load(text, password)
    sentence = signing.unusable("signer", caught.value).sentence
    assert "hush" not in sentence
    assert text[40:80] not in sentence or len(text) < 40


def test_a_signature_is_of_one_payload_by_one_key():
    payload = signing.payload("r.example.com/m/s", DIGEST)
    signature = signing.sign(KEY, payload)
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    assert not signing.verified(other, payload, signature)
    assert not signing.verified(PUBLIC, payload + b" ", signature)
    assert not signing.verified(PUBLIC, payload, "not base64!")
    assert not signing.claims(payload, "sha256:" + "b" * 64)
