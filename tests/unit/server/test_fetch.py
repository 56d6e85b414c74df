"""A model is pulled by digest, verified, and whole or not there at all."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
from distill_api.names import Exit
from distill_common import registry
from distill_server import fetch
from distill_server.fetch import NotFetched
from http_faults import Answer, Call, Server, serving

TAR: Final = "application/vnd.oci.image.layer.v1.tar+gzip"


def layer(files: Mapping[str, str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return gzip.compress(packed.getvalue(), mtime=0)


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Artifact:
    """A registry with one artifact; blobs may be damaged, an answer withheld."""

    def __init__(self, *layers: bytes) -> None:
        self.blobs = {digest(content): content for content in layers}
        listed = [
            {"mediaType": TAR, "digest": digest(content), "size": len(content)}
            for content in layers
        ]
        self.manifest = json.dumps({"schemaVersion": 2, "layers": listed}).encode()
        self.status = 200

    def answer(self, call: Call) -> Answer:
        if self.status != 200:
            return Answer(self.status)
        last = call.path.rpartition("/")[2]
        if "/manifests/" in call.path:
            return Answer(200, self.manifest)
        return Answer(200, self.blobs[last]) if last in self.blobs else Answer(404)

    def uri(self, server: Server) -> str:
        host = server.url.removeprefix("http://")
        return f"oci://{host}/models/search@{digest(self.manifest)}"


def listing(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_layers_are_laid_upon_each_other_as_a_volume_shows_them(tmp_path: Path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "half.safetensors").write_text("of an attempt before")
    artifact = Artifact(
        layer({"models/a": "1", "models/b": "1", "models/old/c": "1", "models/old/d": "1"}),
        layer({"models/.wh.b": "", "models/old/.wh..wh..opq": "", "models/old/e": "2"}),
    )
    with serving(artifact.answer) as server:
        found = fetch.fetch(artifact.uri(server), tmp_path, plain_http=True)
    assert found == digest(artifact.manifest)
    assert listing(tmp_path) == {"models/a": "1", "models/old/e": "2"}


def test_a_damaged_layer_leaves_nothing_under_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    artifact = Artifact(layer({"models/a": "1"}), layer({"models/b": "2"}))
    name = list(artifact.blobs)[1]
    artifact.blobs[name] = layer({"models/b": "another"})
    with serving(artifact.answer) as server, pytest.raises(NotFetched) as caught:
        fetch.fetch(artifact.uri(server), tmp_path, plain_http=True)
    assert "arrived damaged" in caught.value.sentence
    assert caught.value.code == Exit.TRY_AGAIN
    assert [path.name for path in tmp_path.iterdir()] == [fetch.STAGING]


def test_another_manifest_than_the_pinned_one_is_refused(tmp_path: Path):
    artifact = Artifact(layer({"models/a": "1"}))
    with serving(artifact.answer) as server:
        uri = artifact.uri(server)
        artifact.manifest += b"\n"
        with pytest.raises(NotFetched, match="the registry answered with sha256"):
            fetch.fetch(uri, tmp_path, plain_http=True)


@pytest.mark.parametrize(
    "artifact",
    [
        "oci://host/models/search:v1",
        "oci://host/models/search",
        "host/models/search@sha256:" + "0" * 64,
        "oci://host/models/search@sha256:00",
        "oci://search",
    ],
)
def test_what_is_not_pinned_is_refused_and_the_folder_left_alone(tmp_path: Path, artifact: str):
    (tmp_path / "kept").write_text("1")
    with pytest.raises(NotFetched) as caught:
        fetch.fetch(artifact, tmp_path)
    assert caught.value.code == Exit.GIVE_UP
    assert listing(tmp_path) == {"kept": "1"}


@pytest.mark.parametrize(
    ("status", "code", "hint"),
    [
        (404, Exit.GIVE_UP, "Check repository and digest"),
        (403, Exit.GIVE_UP, "Name a Secret that may pull it"),
        (503, Exit.TRY_AGAIN, "Check that the registry runs"),
    ],
)
def test_a_registrys_answer_decides_the_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, code: Exit, hint: str
):
    monkeypatch.setattr(registry.time, "sleep", lambda _: None)
    artifact = Artifact(layer({"models/a": "1"}))
    artifact.status = status
    with serving(artifact.answer) as server:
        words = ["--artifact", artifact.uri(server), "--into", str(tmp_path), "--plain-http"]
        with pytest.raises(NotFetched, match=hint):
            fetch.fetch(words[1], tmp_path, plain_http=True)
        assert fetch.main(words) == code


def test_mounted_credentials_are_used_and_never_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    artifact = Artifact(layer({"models/a": "1"}))
    basic = "bWU6aHVzaA=="

    def guarded(call: Call) -> Answer:
        if call.headers.get("Authorization") != f"Basic {basic}":
            return Answer(401, b"", {"Www-Authenticate": 'Basic realm="here"'})
        return artifact.answer(call)

    with serving(guarded) as server:
        host = server.url.removeprefix("http://")
        config = tmp_path / "docker" / "config.json"
        config.parent.mkdir()
        config.write_text(json.dumps({"auths": {host: {"auth": basic}}}))
        monkeypatch.setenv("DOCKER_CONFIG", str(config.parent))
        fetch.fetch(artifact.uri(server), tmp_path / "into", plain_http=True)
    assert listing(tmp_path / "into") == {"models/a": "1"}
    assert basic not in caplog.text
    assert "hush" not in caplog.text


def test_a_whiteout_cannot_reach_outside(tmp_path: Path):
    (tmp_path / "beside").write_text("1")
    artifact = Artifact(layer({"../.wh.beside": ""}))
    with serving(artifact.answer) as server, pytest.raises(NotFetched) as caught:
        fetch.fetch(artifact.uri(server), tmp_path / "into", plain_http=True)
    assert "outside" in caught.value.sentence
    assert (tmp_path / "beside").exists()
