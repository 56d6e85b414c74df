"""The images that tests run: ours, or those that a foreign cluster already has."""

import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from devcluster import Cluster
from devcluster.images import build, layout, loading, recipe
from devcluster.images.places import Places
from distill_api.generate import files

PACKAGES = "opt/kubedistill/app"
"""Where the trainer image looks for modules first."""
DEEPSPEED = ("deepspeed", "einops", "hjson", "msgpack", "py-cpuinfo")
"""DeepSpeed and what it needs beside the trainer's own libraries."""
LAYER = "application/vnd.oci.image.layer.v1.tar"


def image(cluster: Cluster, name: str) -> str:
    """Return the reference of `operator`, `trainer` or `server`, which the cluster's nodes have.

    The variable KUBEDISTILL_TRAINER_IMAGE, for example, names another one.
    """
    given = os.environ.get(f"KUBEDISTILL_{name.upper()}_IMAGE")
    return given or loading.bring(cluster, name, files.ROOT)


def with_deepspeed(cluster: Cluster) -> str:
    """Return the reference of a trainer image with DeepSpeed: one more layer, of this machine's."""
    if given := os.environ.get("KUBEDISTILL_TRAINER_IMAGE"):
        return given
    places = Places.of_user()
    built = build.ensure(recipe.named("trainer", "cpu"), files.ROOT, places)
    reference = f"{built.reference}-deepspeed-{metadata.version('deepspeed')}"
    target = places.layout(reference)
    if not layout.complete(target):
        with tempfile.TemporaryDirectory(dir=places.root) as scratch:
            more = Path(scratch, "layer.tar")
            more.write_bytes(_layer(DEEPSPEED))
            layout.write(_upon(layout.read(built.layout), more), target, reference)
    cluster.load(target)
    return reference


def _layer(distributions: Iterable[str]) -> bytes:
    """Return a layer with the files of installed distributions."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in distributions:
            for file in metadata.files(name) or ():
                if file.parts[0] != ".." and file.suffix != ".pyc":
                    entry = tar.gettarinfo(str(file.locate()), f"{PACKAGES}/{file}")
                    entry.uid = entry.gid = entry.mtime = 0
                    with Path(str(file.locate())).open("rb") as content:
                        tar.addfile(entry, content)
    return buffer.getvalue()


def _upon(lower: layout.Content, more: Path) -> layout.Content:
    """Lay one more layer upon an image."""
    content = more.read_bytes()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    layer = {"mediaType": LAYER, "digest": digest, "size": len(content)}
    ids = [*lower.config["rootfs"]["diff_ids"], digest]
    config = {**lower.config, "rootfs": {"type": "layers", "diff_ids": ids}}
    config["history"] = [*lower.config.get("history", []), {"created_by": "DeepSpeed"}]
    return layout.Content(config, (*lower.layers, layer), {**lower.places, digest: more})
