"""Layouts hold what was stacked, under digests that are true, without copying layers."""

import hashlib
import json
from pathlib import Path

import pytest
from devcluster.images import layout

REFERENCE = "localhost/kubedistill/thing:0123456789ab"


def part(folder: Path, name: str) -> layout.Content:
    """Return an image of one layer, in the form that `buildah push … dir:` writes."""
    folder.mkdir()

    def put(data: bytes) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (folder / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    layer = put(f"layer {name}".encode()) | {"mediaType": "application/vnd.oci.image.layer.v1.tar"}
    config = put(
        json.dumps(
            {
                "architecture": "amd64",
                "config": {"User": name},
                "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
                "history": [{"created_by": name}],
            }
        ).encode()
    )
    manifest = {"schemaVersion": 2, "config": config, "layers": [layer]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return layout.read_folder(folder)


@pytest.fixture
def stacked(tmp_path: Path) -> layout.Content:
    return layout.stack(part(tmp_path / "lower", "root"), part(tmp_path / "upper", "65532"))


def test_a_stack_has_the_lower_layers_first(stacked: layout.Content) -> None:
    ids = stacked.config["rootfs"]["diff_ids"]
    assert [stacked.places[digest].read_text() for digest in ids] == ["layer root", "layer 65532"]
    assert [layer["digest"] for layer in stacked.layers] == ids
    assert [entry["created_by"] for entry in stacked.config["history"]] == ["root", "65532"]


def test_a_stack_runs_as_the_upper_image_says(stacked: layout.Content) -> None:
    assert stacked.config["config"] == {"User": "65532"}


def test_a_written_layout_reads_back_the_same(stacked: layout.Content, tmp_path: Path) -> None:
    layout.write(stacked, tmp_path / "oci", REFERENCE)
    again = layout.read(tmp_path / "oci")
    assert again.config == stacked.config
    assert again.layers == stacked.layers


def test_every_blob_has_its_own_digest_as_name(stacked: layout.Content, tmp_path: Path) -> None:
    layout.write(stacked, tmp_path / "oci", REFERENCE)
    blobs = list((tmp_path / "oci/blobs/sha256").iterdir())
    assert len(blobs) == 4  # manifest, configuration, two layers
    for path in blobs:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def test_layers_are_linked_not_copied(stacked: layout.Content, tmp_path: Path) -> None:
    layout.write(stacked, tmp_path / "oci", REFERENCE)
    assert stacked.places.keys() == {layer["digest"] for layer in stacked.layers}
    for digest, place in stacked.places.items():
        assert layout.blob(tmp_path / "oci", digest).samefile(place)


def test_the_index_carries_the_full_name(stacked: layout.Content, tmp_path: Path) -> None:
    layout.write(stacked, tmp_path / "oci", REFERENCE)
    index = json.loads((tmp_path / "oci/index.json").read_text())
    assert index["manifests"][0]["annotations"] == {
        "io.containerd.image.name": REFERENCE,
        "org.opencontainers.image.ref.name": "0123456789ab",
    }


def test_a_layout_cut_short_is_not_complete(stacked: layout.Content, tmp_path: Path) -> None:
    stacked.places[stacked.layers[1]["digest"]].unlink()
    with pytest.raises(FileNotFoundError):
        layout.write(stacked, tmp_path / "oci", REFERENCE)
    assert not layout.complete(tmp_path / "oci")
