"""Signatures that cosign verifies: its keys, its payload, and where a registry holds them.

Follows cosign's SIGNATURE_SPEC: a manifest tagged `sha256-DIGEST.sig` whose layers are payloads of
the simple signing format, each with its signature as an annotation.
"""

import binascii
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from distill_api.names import Reason

from distill_trainer.errors import BadInput

KEY: Final = "cosign.key"
PASSWORD: Final = "cosign.password"  # noqa: S105 - the key's name in a Secret
PAYLOAD_TYPE: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
ANNOTATION: Final = "dev.cosignproject.cosign/signature"
_TYPE: Final = "cosign container image signature"
_SEALED: Final = ("ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY")
_ALGORITHM: Final = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
"""By RFC 6979: the same artifact and key give the same signature, so a repeat changes nothing."""

type Key = ec.EllipticCurvePrivateKey
type PublicKey = ec.EllipticCurvePublicKey


class BadKey(Exception):
    """A key that cannot sign; the text says why and holds nothing of the key."""


def load(pem: str, password: str | None) -> Key:
    """Return the private key of a PEM text: cosign's own, or PKCS#8. Raises BadKey."""
    secret = (password or "").encode()
    try:
        if any(f"BEGIN {words}" in pem for words in _SEALED):
            found: Any = serialization.load_der_private_key(_unsealed(pem, secret), None)
        else:
            found = serialization.load_pem_private_key(pem.encode(), secret or None)
    except (ValueError, TypeError, KeyError, binascii.Error) as error:
        raise BadKey("it is no private key in PEM, or cosign.password does not open it") from error
    if not isinstance(found, ec.EllipticCurvePrivateKey) or found.curve.name != "secp256r1":
        raise BadKey("it is not a key of ECDSA on P-256, as cosign makes them")
    return found


def _unsealed(pem: str, password: bytes) -> bytes:
    """Open a key as cosign seals it: scrypt makes a key of the password, secretbox encrypts."""
    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox

    lines = [line for line in pem.strip().splitlines() if not line.startswith("-----")]
    sealed = json.loads(b64decode("".join(lines)))
    kdf, cipher = sealed["kdf"], sealed["cipher"]
    if (kdf["name"], cipher["name"]) != ("scrypt", "nacl/secretbox"):
        raise ValueError(f"unknown ciphers {kdf['name']} and {cipher['name']}")
    cost = kdf["params"]
    salt = b64decode(kdf["salt"])
    derived = Scrypt(salt=salt, length=32, n=cost["N"], r=cost["r"], p=cost["p"]).derive(password)
    try:
        return SecretBox(derived).decrypt(
            b64decode(sealed["ciphertext"]), b64decode(cipher["nonce"])
        )
    except CryptoError as error:
        raise ValueError("wrong password") from error


def payload(name: str, digest: str) -> bytes:
    """Return what is signed. name: registry and repository. digest: of the manifest."""
    content = {
        "critical": {
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": digest},
            "type": _TYPE,
        },
        "optional": None,
    }
    return json.dumps(content, separators=(",", ":")).encode()


def sign(key: Key, content: bytes) -> str:
    """Return the signature of a payload in base64."""
    return b64encode(key.sign(content, _ALGORITHM)).decode()


def verified(key: PublicKey, content: bytes, signature: str) -> bool:
    """Tell whether a signature is this key's, of this payload."""
    try:
        key.verify(b64decode(signature, validate=True), content, _ALGORITHM)
    except (InvalidSignature, binascii.Error):
        return False
    return True


def claims(content: bytes, digest: str) -> bool:
    """Tell whether a payload speaks of a manifest."""
    try:
        critical = json.loads(content)["critical"]
        return bool(
            critical["type"] == _TYPE and critical["image"]["docker-manifest-digest"] == digest
        )
    except (ValueError, KeyError, TypeError):
        return False


def tag(digest: str) -> str:
    """Return the tag under which cosign looks for the signatures of a manifest."""
    return digest.replace(":", "-") + ".sig"


def layer(digest: str, size: int, signature: str) -> dict[str, Any]:
    """Return the layer of a payload. digest, size: of the payload."""
    return {
        "mediaType": PAYLOAD_TYPE,
        "digest": digest,
        "size": size,
        "annotations": {ANNOTATION: signature},
    }


def config(layers: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the image configuration, as cosign writes it: nothing but the layers' digests."""
    return {
        "architecture": "",
        "config": {},
        "created": "0001-01-01T00:00:00Z",
        "history": [{"created": "0001-01-01T00:00:00Z"} for _ in layers],
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
    }


def unusable(secret: str, error: BadKey) -> BadInput:
    """Return the failure of a Secret whose key cannot sign."""
    return BadInput(
        Reason.SECRET_MISSING,
        f'The key "{KEY}" of Secret "{secret}" cannot sign: {error}. Make one with `cosign'
        " generate-key-pair k8s://NAMESPACE/NAME`, and create the job again",
    )
