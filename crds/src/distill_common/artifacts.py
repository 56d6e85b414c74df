"""Pulls an OCI artifact into a folder: every blob by its digest, tar layers unpacked."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from distill_common import archives, registry, volumes
from distill_common.registry import Client, Reference, RegistryError

TITLE: Final = "org.opencontainers.image.title"

type Tell = Callable[[float, float], None]
"""Is called with the bytes that are done and those in all."""


class NoLayers(Exception):
    """What is not one artifact, but an index of several; the text says what to do."""


def pull(client: Client, reference: Reference, into: Path, tell: Tell) -> str:
    """Pull an artifact into an empty folder; returns the digest of its manifest.

    Raises RegistryError for the registry's answers and damaged blobs, NoLayers, BadArchive.
    """
    manifest, digest = registry.manifest(client, reference)
    if "layers" not in manifest:
        raise NoLayers("it is an index of several images; name one of them by its digest")
    pinned = Reference(reference.host, reference.repository, None, digest)
    layers: list[dict[str, Any]] = manifest["layers"]
    done, total = 0, sum(int(layer["size"]) for layer in layers)
    for number, layer in enumerate(layers):
        blob = into / f".layer-{number}"
        done += _download(client, pinned, layer, blob, _beyond(done, total, tell))
        _place(layer, blob, into)
    return digest


def _beyond(before: int, total: int, tell: Tell) -> Callable[[int], None]:
    """Return what tells of one layer's bytes beside those of the layers before it."""
    return lambda done: tell(before + done, total)


def _download(
    client: Client,
    reference: Reference,
    layer: Mapping[str, Any],
    blob: Path,
    tell: Callable[[int], None],
) -> int:
    """Download a layer and check its digest; returns its bytes."""
    url = f"{client.prefix}://{reference.container.get_blob_url(layer['digest'])}"
    response = client.do_request(url, stream=True)
    registry.check(response)
    hasher, done = hashlib.sha256(), 0
    with blob.open("wb") as file:
        for chunk in response.iter_content(registry.CHUNK):
            file.write(chunk)
            hasher.update(chunk)
            done += len(chunk)
            tell(done)
    if f"sha256:{hasher.hexdigest()}" != layer["digest"]:
        blob.unlink()
        raise RegistryError(0, f"layer {layer['digest']} arrived damaged")
    return done


def _place(layer: Mapping[str, Any], blob: Path, into: Path) -> None:
    """Unpack a tar layer, or give a plain layer the file name that it carries."""
    if "tar" in layer.get("mediaType", ""):
        archives.unpack_layer(blob, into)
        blob.unlink()
        return
    title = (layer.get("annotations") or {}).get(TITLE) or layer["digest"].replace(":", "-")
    target = into.joinpath(*volumes.inside(title))
    target.parent.mkdir(parents=True, exist_ok=True)
    blob.rename(target)
    if archives.is_archive(target.name):
        archives.unpack(target, target.parent)
        target.unlink()
