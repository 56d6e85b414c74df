"""Manifests of one repository: put, read, found by tag, removed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from distill_common import registry
from distill_common.registry import Client, Reference, RegistryError

MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
_ACCEPT: Final = f"{MANIFEST_TYPE}, {INDEX_TYPE}"


def encode(content: Mapping[str, Any]) -> bytes:
    """Write JSON in one form only, since its bytes are digested."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def digest_of(content: bytes) -> str:
    """Return the sha256 digest in OCI's notation."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def put(client: Client, where: Reference, name: str, content: bytes, kind: str) -> None:
    """Put a manifest under a tag, or under its own digest. kind: its media type."""
    headers = {"Content-Type": kind}
    registry.check(
        client.do_request(_url(client, where, name), "PUT", data=content, headers=headers)
    )


def get(client: Client, where: Reference, name: str) -> bytes | None:
    """Return a manifest's bytes by tag or digest; None where it is absent."""
    answer = client.do_request(_url(client, where, name), headers={"Accept": _ACCEPT})
    if answer.status_code == 404:
        return None
    registry.check(answer)
    content = bytes(answer.content)
    if name.startswith("sha256:") and digest_of(content) != name:
        raise RegistryError(0, f"the registry answered with {digest_of(content)} instead of {name}")
    return content


def resolve(client: Client, where: Reference, name: str) -> str | None:
    """Return the digest that a tag points to; None where there is no such tag."""
    content = get(client, where, name)
    return None if content is None else digest_of(content)


def tags(client: Client, where: Reference) -> list[str]:
    """Return every tag of the repository."""
    found: list[str] = []
    base = f"{client.prefix}://{where.host}"
    url: str | None = f"{base}/v2/{where.repository}/tags/list?n=1000"
    while url is not None:
        answer = client.do_request(url)
        if answer.status_code == 404:
            return found
        registry.check(answer)
        found += answer.json().get("tags") or []
        following = answer.links.get("next", {}).get("url")
        url = None if following is None else _absolute(base, following)
    return found


def remove(client: Client, where: Reference, digest: str) -> None:
    """Remove a manifest with all tags that point to it; absent is fine."""
    answer = client.do_request(_url(client, where, digest), "DELETE")
    if answer.status_code != 404:
        registry.check(answer)


def _url(client: Client, where: Reference, name: str) -> str:
    return f"{client.prefix}://{where.host}/v2/{where.repository}/manifests/{name}"


def _absolute(base: str, url: str) -> str:
    return url if "://" in url else f"{base}/{url.lstrip('/')}"
