"""The progress endpoint's certificate in a Secret of the operator's namespace, and in use."""

import base64
import logging
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from distill_operator import errors
from distill_operator.effects import certificates
from distill_operator.effects.certificates import Identity, Material
from distill_operator.effects.cluster import Cluster
from distill_operator.effects.kinds import SECRET
from distill_operator.plan.model import Manifest

log = logging.getLogger(__name__)

NAME: Final = "kubedistill-progress-tls"
FIELDS: Final = ("ca.crt", "ca.key", "tls.crt", "tls.key")


def parse(secret: Manifest) -> Material | None:
    """Return what the Secret holds; None where a part is missing."""
    data = secret.get("data") or {}
    if any(not data.get(name) for name in FIELDS):
        return None
    ca, ca_key, leaf, leaf_key = (base64.b64decode(data[name]) for name in FIELDS)
    return Material(Identity(ca, ca_key), Identity(leaf, leaf_key))


def data(material: Material) -> dict[str, str]:
    """Return the Secret's data."""
    parts = (
        material.authority.certificate,
        material.authority.key,
        material.leaf.certificate,
        material.leaf.key,
    )
    return {name: base64.b64encode(part).decode() for name, part in zip(FIELDS, parts, strict=True)}


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@dataclass(slots=True)
class Certificate:
    """The certificate in use: read from the Secret, made or renewed there if need be."""

    cluster: Cluster
    namespace: str
    hosts: Sequence[str]
    context: ssl.SSLContext = field(default_factory=_context)
    authority: str | None = None
    """PEM of the authority, for the pods; None before it is known."""
    _loaded: Material | None = None

    async def refresh(self) -> None:
        """Take over what the Secret holds, after making or renewing it."""
        secret = await self._read()
        old = parse(secret) if secret else None
        wanted = certificates.renewed(old, self.hosts, now=datetime.now(UTC))
        if wanted != old:
            await self._write(secret, wanted)
        self._use(wanted)

    async def _read(self) -> Manifest | None:
        try:
            return await self.cluster.get(SECRET, self.namespace, NAME)
        except errors.Missing:
            return None

    async def _write(self, secret: Manifest | None, wanted: Material) -> None:
        """Write the Secret; where another replica was faster, its Conflict or Exists is raised."""
        fresh: Manifest = {
            "apiVersion": SECRET.api_version,
            "kind": SECRET.kind,
            "type": "Opaque",
            "metadata": {"name": NAME, "namespace": self.namespace},
        }
        if secret is None:
            await self.cluster.create(SECRET, fresh | {"data": data(wanted)})
        else:
            await self.cluster.replace(SECRET, secret | {"data": data(wanted)})
        log.info("the progress endpoint's certificate was made or renewed")

    def _use(self, material: Material) -> None:
        """Serve new connections with this certificate; open ones go on."""
        if material == self._loaded:
            return
        # The library reads key and certificate from a file only: one that is never on a disk.
        with os.fdopen(os.memfd_create("certificate"), "wb") as file:
            file.write(material.leaf.certificate + material.leaf.key)
            file.flush()
            self.context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
        self.authority = material.authority.certificate.decode()
        self._loaded = material
