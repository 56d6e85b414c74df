"""OCI image layouts on disk: one image per folder, blobs shared by hard links."""

import io
import json
import os
import tarfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"  # the full name that `ctr images import` gives


def read_index(layout: Path) -> dict[str, Any]:
    """Read a layout's index.json; FileNotFoundError where the folder is no layout."""
    index: dict[str, Any] = json.loads((layout / "index.json").read_text())
    return index


def complete(layout: Path) -> bool:
    """Say whether the layout was written to its end: the index comes last."""
    return (layout / "index.json").exists()


def blob(layout: Path, digest: str) -> Path:
    """Return where a layout keeps a blob."""
    algorithm, _, value = digest.partition(":")
    return layout / "blobs" / algorithm / value


def tagged(index: Mapping[str, Any], tag: str) -> Mapping[str, Any]:
    """Return the descriptor of a tag; KeyError with the tags there are."""
    manifests = index["manifests"]
    for descriptor in manifests:
        if descriptor.get("annotations", {}).get(REF_NAME) == tag:
            return dict(descriptor)
    tags = [descriptor.get("annotations", {}).get(REF_NAME) for descriptor in manifests]
    raise KeyError(f"the layout has no tag {tag!r}; it has {tags}")


def digests(layout: Path, descriptor: Mapping[str, Any]) -> Iterator[str]:
    """List the blobs of an image: manifest, configuration, layers."""
    manifest = json.loads(blob(layout, descriptor["digest"]).read_text())
    yield descriptor["digest"]
    yield manifest["config"]["digest"]
    yield from (layer["digest"] for layer in manifest["layers"])


def extract(store: Path, tag: str, reference: str, target: Path) -> None:
    """Make a layout of one image out of a shared one, without copying a blob."""
    descriptor = tagged(read_index(store), tag)
    for digest in digests(store, descriptor):
        place = blob(target, digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            os.link(blob(store, digest), place)
    names = {REF_NAME: tag, CONTAINERD_NAME: reference}
    index = {"schemaVersion": 2, "manifests": [{**descriptor, "annotations": names}]}
    (target / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    partial = target / "index.json.partial"
    partial.write_text(json.dumps(index))
    partial.replace(target / "index.json")  # last: a folder with an index is complete


def write_archive(layout: Path, stream: IO[bytes], *, present: Collection[str] = ()) -> int:
    """Write the layout as a tar archive for `ctr images import -`; return its bytes of blobs.

    present: digests the receiver has already, left out. containerd checks only that each blob is
    in its store in the end, so a changed image of 2 GB travels as the few hundred kB that changed.
    """
    moved = 0
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        for name in ("oci-layout", "index.json"):
            content = (layout / name).read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for path in sorted((layout / "blobs").glob("*/*")):
            if f"{path.parent.name}:{path.name}" not in present:
                archive.add(path, arcname=str(path.relative_to(layout)))
                moved += path.stat().st_size
    return moved
