"""Images get into a node's store, and only what is missing moves."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from devcluster import busybox, store
from devcluster.errors import ClusterError


def _read(files: dict[str, bytes], descriptor: dict[str, str]) -> bytes:
    return files[f"blobs/{descriptor['digest'].replace(':', '/')}"]


def _unpack(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]


def test_the_archive_is_a_valid_oci_layout_with_both_images() -> None:
    files = _unpack(busybox.archive(b"\x7fELF busybox"))
    blobs = {name: content for name, content in files.items() if name.startswith("blobs/")}
    assert len(blobs) == 5  # one shared layer, two configs, two manifests
    for name, content in blobs.items():
        assert name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"
    manifests = json.loads(files["index.json"])["manifests"]
    names = {m["annotations"]["io.containerd.image.name"] for m in manifests}
    assert names == {busybox.REFERENCE, busybox.PAUSE_REFERENCE}


def test_the_layer_holds_busybox_and_its_applets() -> None:
    files = _unpack(busybox.archive(b"\x7fELF busybox"))
    manifest = json.loads(_read(files, json.loads(files["index.json"])["manifests"][0]))
    layer = _read(files, manifest["layers"][0])
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        assert tar.extractfile("bin/busybox").read() == b"\x7fELF busybox"  # type: ignore[union-attr]
        assert tar.getmember("bin/sh").linkname == "busybox"
        assert tar.getmember("tmp").mode == 0o1777


def test_the_archive_is_the_same_each_time() -> None:
    assert busybox.archive(b"x") == busybox.archive(b"x")


def test_blobs_that_the_store_has_do_not_move(tmp_path: Path) -> None:
    layout = _layout(tmp_path, "localhost/kubedistill/trainer:1")
    present = {"sha256:aaaa", "sha256:unrelated"}
    moved = [str(file.relative_to(layout)) for file in store.missing_files(layout, present)]
    assert moved == ["blobs/sha256/bbbb", "index.json", "oci-layout"]


def test_an_image_that_no_pod_could_name_is_refused(tmp_path: Path) -> None:
    layout = _layout(tmp_path, "latest")
    with pytest.raises(ClusterError, match="named 'latest', expected a full reference"):
        store.references(layout)


def test_a_failing_import_shows_the_reason(tmp_path: Path) -> None:
    layout = _layout(tmp_path, "localhost/kubedistill/trainer:1")
    # A stand-in for containerd's client that fails as it does when the daemon is gone.
    ctr = ("sh", "-c", 'case "$2" in list) ;; *) echo "no daemon" >&2; exit 1;; esac', "ctr")
    with pytest.raises(ClusterError, match=r"exit status 1: no daemon"):
        store.import_image(ctr, layout)


def _layout(folder: Path, name: str) -> Path:
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (blobs / "aaaa").write_text("a large layer")
    (blobs / "bbbb").write_text("a small layer")
    (folder / "oci-layout").write_text("{}")
    manifest = {"annotations": {"org.opencontainers.image.ref.name": name}}
    (folder / "index.json").write_text(json.dumps({"manifests": [manifest]}))
    return folder
