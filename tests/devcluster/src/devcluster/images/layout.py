"""OCI image layouts on disk: one image per folder, its blobs uncompressed, shared by hard links."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

type Document = dict[str, Any]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"  # the full name that `ctr images import` gives


@dataclass(frozen=True, slots=True)
class Content:
    """An image: its configuration and its layers' descriptors, base first."""

    config: Document
    layers: tuple[Document, ...]
    places: Mapping[str, Path]  # digest of a layer -> a file with its bytes


def stack(lower: Content, upper: Content) -> Content:
    """Lay one image's layers upon another's; user, environment and entry point are the upper's.

    A layer does not know what is below it, so this is what a build on top would have made.
    """
    ids = [*lower.config["rootfs"]["diff_ids"], *upper.config["rootfs"]["diff_ids"]]
    config = {
        **upper.config,
        "rootfs": {"type": "layers", "diff_ids": ids},
        "history": [*lower.config.get("history", []), *upper.config.get("history", [])],
    }
    layers = (*lower.layers, *upper.layers)
    return Content(config, layers, {**lower.places, **upper.places})


def complete(layout: Path) -> bool:
    """Say whether the layout was written to its end: the index comes last."""
    return (layout / "index.json").exists()


def blob(layout: Path, digest: str) -> Path:
    """Return where a layout keeps a blob."""
    algorithm, _, value = digest.partition(":")
    return layout / "blobs" / algorithm / value


def read(layout: Path) -> Content:
    """Read the one image of a layout."""
    index = json.loads((layout / "index.json").read_text())
    manifest = json.loads(blob(layout, index["manifests"][0]["digest"]).read_text())
    config = json.loads(blob(layout, manifest["config"]["digest"]).read_text())
    layers = tuple(manifest["layers"])
    return Content(
        config, layers, {layer["digest"]: blob(layout, layer["digest"]) for layer in layers}
    )


def read_folder(folder: Path) -> Content:
    """Read what `buildah push … dir:` wrote: the manifest, and blobs under their bare digests."""
    manifest = json.loads((folder / "manifest.json").read_text())

    def place(descriptor: Document) -> Path:
        return folder / str(descriptor["digest"]).removeprefix("sha256:")

    config = json.loads(place(manifest["config"]).read_text())
    layers = tuple(manifest["layers"])
    return Content(config, layers, {layer["digest"]: place(layer) for layer in layers})


def write(content: Content, layout: Path, reference: str) -> None:
    """Write a layout of one image; layers are linked, not copied."""
    for digest, place in content.places.items():
        target = blob(layout, digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            os.link(place, target)
    config = _put(layout, content.config) | {"mediaType": MANIFEST.replace("manifest", "config")}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": list(content.layers),
    }
    names = {REF_NAME: reference.rpartition(":")[2], CONTAINERD_NAME: reference}
    descriptor = _put(layout, manifest) | {"mediaType": MANIFEST, "annotations": names}
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    partial = layout / "index.json.partial"
    partial.write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))
    partial.replace(layout / "index.json")


def _put(layout: Path, document: Mapping[str, Any]) -> Document:
    """Store a JSON document as a blob; return its digest and size."""
    data = json.dumps(document, sort_keys=True).encode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    target = blob(layout, digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return {"digest": digest, "size": len(data)}
