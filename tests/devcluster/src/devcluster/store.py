"""A node's image store: import archives and OCI layouts, moving only what is missing."""

import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from devcluster.errors import ClusterError

Ctr = tuple[str, ...]
NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


def import_image(ctr: Ctr, image: Path) -> None:
    """Import a docker or OCI archive, or an OCI layout folder, into one node."""
    if image.is_dir():
        _import_layout(ctr, image)
    else:
        with image.open("rb") as archive:
            _import_stream(ctr, archive)


def import_bytes(ctr: Ctr, archive: bytes) -> None:
    """Import an archive from memory."""
    _check(subprocess.run(_import(ctr), input=archive, capture_output=True, check=False))


def references(layout: Path) -> list[str]:
    """Names of the images in an OCI layout; raise where one has none that a pod could use."""
    index = json.loads((layout / "index.json").read_text())
    return [_reference(layout, manifest) for manifest in index["manifests"]]


def images(ctr: Ctr) -> set[str]:
    """Return references of the images that the node has."""
    return set(_lines(ctr, "images", "list", "--quiet"))


def forget_containers(ctr: Ctr) -> bool:
    """Remove containers that an earlier life of the node left; whether there were any."""
    leftovers = _lines(ctr, "containers", "list", "--quiet")
    if leftovers:
        _check(
            subprocess.run(
                [*ctr, "containers", "delete", *leftovers], capture_output=True, check=False
            )
        )
    return bool(leftovers)


def missing_files(layout: Path, present: set[str]) -> Iterator[Path]:
    """Return the layout's files, without blobs that the store has (digests in `present`)."""
    for file in sorted(path for path in layout.rglob("*") if path.is_file()):
        algorithm, digest = file.parts[-2:]
        if f"{algorithm}:{digest}" not in present:
            yield file


def _import_layout(ctr: Ctr, layout: Path) -> None:
    references(layout)
    present = set(_lines(ctr, "content", "list", "--quiet"))
    with subprocess.Popen(
        _import(ctr), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        try:
            with tarfile.open(fileobj=child.stdin, mode="w|") as tar:
                for file in missing_files(layout, present):
                    tar.add(file, str(file.relative_to(layout)))
        except BrokenPipeError:
            pass  # the importer ended; its own message says why
        out, err = child.communicate()
    _check(subprocess.CompletedProcess(child.args, child.returncode, out, err))


def _import_stream(ctr: Ctr, archive: IO[bytes]) -> None:
    _check(subprocess.run(_import(ctr), stdin=archive, capture_output=True, check=False))


def _import(ctr: Ctr) -> Ctr:
    return (*ctr, "images", "import", "--local", "-")


def _reference(layout: Path, manifest: dict[str, Any]) -> str:
    annotations = manifest.get("annotations", {})
    name = next((annotations[key] for key in NAMES if key in annotations), "")
    if "/" not in name:
        raise ClusterError(
            f"an image in {layout} is named {name!r}, expected a full reference such as "
            f"localhost/kubedistill/trainer:abc in the annotation {NAMES[1]} of index.json"
        )
    return str(name)


def _lines(ctr: Ctr, *words: str) -> list[str]:
    done = subprocess.run([*ctr, *words], capture_output=True, check=False)
    _check(done)
    return done.stdout.decode().split()


def _check(done: subprocess.CompletedProcess[bytes]) -> None:
    if done.returncode:
        raise ClusterError(
            f"`{' '.join(done.args)}` ended with exit status {done.returncode}: "
            f"{done.stderr.decode(errors='replace').strip()[-2000:]}"
        )
