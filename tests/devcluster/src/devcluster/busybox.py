"""The two images the cluster itself needs, made from Debian's static busybox without a builder."""

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

from devcluster.errors import ClusterError

REFERENCE = "localhost/kubedistill/busybox:1"
PAUSE_REFERENCE = "localhost/kubedistill/pause:1"
# fmt: off
APPLETS = (
    "sh", "cat", "chmod", "cp", "date", "dd", "df", "du", "echo", "env", "false", "find",
    "grep", "head", "hostname", "id", "kill", "ln", "ls", "mkdir", "mount", "mv", "nc",
    "nslookup", "ping", "printf", "ps", "rm", "rmdir", "sed", "seq", "sleep", "stat",
    "sync", "tail", "tar", "test", "touch", "true", "umount", "wc", "wget",
)
# fmt: on
LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def find() -> bytes:
    """Read the statically linked busybox of this machine."""
    program = shutil.which("busybox")
    if program is None:
        raise ClusterError("no `busybox` on PATH: run `make setup`, or install busybox-static")
    return Path(program).read_bytes()


def archive(busybox: bytes) -> bytes:
    """Return an OCI archive with the helper image and the pause image, both on the same layer."""
    layer = _layer(busybox)
    files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
    manifests = [
        _image(files, layer, PAUSE_REFERENCE, ["/bin/sleep", "2147483647"]),
        _image(files, layer, REFERENCE, ["/bin/sh"]),
    ]
    files["index.json"] = _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
    return _tar(files)


def _image(files: dict[str, bytes], layer: bytes, name: str, command: list[str]) -> dict[str, Any]:
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": command, "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _blob(files, _json(config), CONFIG),
        "layers": [_blob(files, layer, LAYER)],
    }
    annotations = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name,
    }
    return {**_blob(files, _json(manifest), MANIFEST), "annotations": annotations}


def _blob(files: dict[str, bytes], content: bytes, media_type: str) -> dict[str, Any]:
    digest = _digest(content)
    files[f"blobs/{digest.replace(':', '/')}"] = content
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _layer(busybox: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder, mode in (("bin", 0o755), ("tmp", 0o1777)):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        entry = tarfile.TarInfo("bin/busybox")
        entry.mode, entry.size = 0o755, len(busybox)
        tar.addfile(entry, io.BytesIO(busybox))
        for applet in APPLETS:
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return buffer.getvalue()


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
