"""A student in a registry: sent in chunks, signed before its tag, older ones removed."""

import json
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from distill_api.names import Stage
from distill_api.wire import Report
from distill_common import registry as registries_common
from distill_trainer.context import Context
from distill_trainer.errors import TryAgain
from distill_trainer.publishing import history, pull, signing, uploading
from distill_trainer.stages import publish
from http_faults import Server, serving
from registries import Registry
from trainer import a_context, a_task, a_trained_student

CHUNK = 8000
KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def server(registry: Registry) -> Iterator[Server]:
    with serving(registry.answer) as running:
        yield running


@pytest.fixture(autouse=True)
def _small_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send small chunks, and do not wait between tries."""
    monkeypatch.setattr(uploading, "CHUNK", CHUNK)
    monkeypatch.setattr(registries_common.time, "sleep", lambda _: None)


def a_publication(
    folder: Path, server: Server, weights: bytes = b"12345678", **target: Any
) -> Context:
    repository = server.url.removeprefix("http://") + "/m/s"
    oci = {"repository": repository, "plainHttp": True, **target}
    folder.mkdir(exist_ok=True)
    context = a_context(a_task(folder, Stage.PUBLISH, cache=False, publish=[{"oci": oci}]), folder)
    a_trained_student(context, weights)
    return context


def published(folder: Path, server: Server, weights: bytes, **target: Any) -> Report:
    return publish.run(a_publication(folder, server, weights, **target))


def patches(server: Server) -> list[str]:
    return [call.headers["Content-Range"] for call in server.calls if call.method == "PATCH"]


def test_a_large_layer_goes_on_where_it_was_broken_off(
    tmp_path: Path, registry: Registry, server: Server
):
    registry.breaks_after = 2
    context = a_publication(tmp_path, server, b"w" * 30_000)
    with pytest.raises(TryAgain, match="503"):
        publish.run(context)
    # Killed half-way: no tag and no manifest, so there is nothing that could be read.
    assert not registry.tags
    assert not registry.manifests
    before = len(patches(server))
    registry.breaks_after = None
    report = publish.run(a_publication(tmp_path, server, b"w" * 30_000))
    assert patches(server)[before] == f"{2 * CHUNK}-{3 * CHUNK - 1}"
    assert report.artifact is not None
    got = pull.pull(report.artifact.uri, tmp_path / "got", plain_http=True)
    assert got.digest == report.artifact.digest
    assert (tmp_path / "got" / "models" / "model.safetensors").read_bytes() == b"w" * 30_000


def test_a_registry_without_chunks_gets_the_layer_at_once(
    tmp_path: Path, registry: Registry, server: Server
):
    registry.chunks = False
    report = published(tmp_path, server, b"w" * 30_000)
    assert report.artifact is not None
    assert report.artifact.digest in registry.manifests


def test_a_byte_flipped_in_the_registry_is_refused(
    tmp_path: Path, registry: Registry, server: Server
):
    artifact = published(tmp_path, server, b"12345678").artifact
    assert artifact is not None
    layer = max(registry.blobs, key=lambda digest: len(registry.blobs[digest]))
    registry.blobs[layer] = registry.blobs[layer].replace(b"12345678", b"12345679")
    with pytest.raises(TryAgain, match=r"layer .* arrived damaged"):
        pull.pull(artifact.uri, tmp_path / "got", plain_http=True)


def a_secret(folder: Path, name: str = "signer") -> dict[str, Any]:
    secret = folder / "secrets" / name
    secret.mkdir(parents=True, exist_ok=True)
    pem = KEY.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (secret / signing.KEY).write_bytes(pem)
    return {"secretRef": {"name": name}}


def test_a_student_is_signed_as_cosign_verifies_it(
    tmp_path: Path, registry: Registry, server: Server
):
    report = published(tmp_path, server, b"12345678", sign=a_secret(tmp_path))
    assert report.artifact is not None
    digest = report.artifact.digest
    tag = f"sha256-{digest.removeprefix('sha256:')}.sig"
    told = report.publications[0].signature
    assert told is not None
    assert told.endswith(f"/m/s:{tag}")
    manifest: Any = registry.tagged(tag)
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json"
    payload = registry.blobs[layer["digest"]]
    assert json.loads(payload)["critical"]["image"] == {"docker-manifest-digest": digest}
    assert json.loads(payload)["critical"]["type"] == "cosign container image signature"
    config = json.loads(registry.blobs[manifest["config"]["digest"]])
    assert config["rootfs"]["diff_ids"] == [layer["digest"]]
    signature = layer["annotations"]["dev.cosignproject.cosign/signature"]
    KEY.public_key().verify(b64decode(signature), payload, signing._ALGORITHM)
    # Nobody finds an unsigned student by its name.
    assert registry.order == [digest, tag, "demo"]


def test_signing_again_changes_nothing_and_keeps_what_others_signed(
    tmp_path: Path, registry: Registry, server: Server
):
    first = published(tmp_path / "one", server, b"12345678", sign=a_secret(tmp_path / "one"))
    tag = signing.tag(first.publications[0].digest or "")
    theirs = json.loads(registry.manifests[registry.tags[tag]])
    theirs["layers"][0]["annotations"][signing.ANNOTATION] = "c29tZWJvZHkgZWxzZQ=="
    content = json.dumps(theirs).encode()
    registry.manifests[registry.tags[tag]] = content
    for name in ("two", "three"):
        again = published(tmp_path / name, server, b"12345678", sign=a_secret(tmp_path / name))
        assert again.artifact == first.artifact
    layers: Any = registry.tagged(tag)["layers"]
    assert len(layers) == 2
    assert layers[0] == theirs["layers"][0]


def test_older_students_go_and_what_somebody_tagged_stays(
    tmp_path: Path, registry: Registry, server: Server
):
    rule = {"keepLast": 1}
    reports = []
    for number in range(3):
        folder = tmp_path / str(number)
        weights = b"weights %d" % number
        signed = a_secret(folder)
        reports.append(
            published(folder, server, weights, tag=f"v{number}", retention=rule, sign=signed)
        )
        if number == 1:
            registry.tags["production"] = registry.tags["v1"]
    first, second, third = [report.publications[0] for report in reports]
    assert first.message is None
    assert second.message == f"Retention removed 1 older: {(first.digest or '')[:19]}"
    assert third.message == f"{(second.digest or '')[:19]} stays, as tag production names it"
    assert {tag for tag in registry.tags if not tag.startswith(("sha256-", "kubedistill"))} == {
        "v1",
        "production",
        "v2",
    }
    assert signing.tag(first.digest or "") not in registry.tags
    assert signing.tag(second.digest or "") in registry.tags


def test_what_a_rollout_serves_is_not_removed(tmp_path: Path, registry: Registry, server: Server):
    first = published(tmp_path / "1", server, b"1", tag="v1", retention={"keepLast": 1})
    second = published(tmp_path / "2", server, b"2", tag="v2", retention={"keepLast": 9})
    context = a_publication(tmp_path / "3", server, b"3", tag="v3", retention={"keepLast": 1})
    served = first.publications[0].digest or ""
    report = publish.run(
        replace(context, task=context.task.model_copy(update={"served": [served]}))
    )
    gone = (second.publications[0].digest or "")[:19]
    assert report.publications[0].message == f"Retention removed 1 older: {gone}"
    assert served in registry.manifests


def test_a_student_is_written_down_though_nothing_could_be_removed(
    tmp_path: Path, registry: Registry, server: Server
):
    """Else it would never be removed, once the registry allows that."""
    registry.deletes = False
    for number in range(2):
        weights, rule = b"w%d" % number, {"keepLast": 1}
        published(tmp_path / str(number), server, weights, tag=f"v{number}", retention=rule)
    index: Any = registry.tagged(history.TAG)
    assert len(index["manifests"]) == 2


def test_an_index_that_somebody_else_wrote_does_not_fail_the_publication(
    tmp_path: Path, registry: Registry, server: Server
):
    content = json.dumps({"artifactType": history._TYPE, "manifests": [{}]}).encode()
    registry.manifests["sha256:theirs"] = content
    registry.tags[history.TAG] = "sha256:theirs"
    report = published(tmp_path, server, b"1", retention={"keepLast": 1})
    assert report.outcome == "Done"
    told = report.publications[0]
    assert told.state == "Published"
    assert (told.message or "").startswith("Retention could not be applied: KeyError")


def test_a_registry_that_keeps_everything_does_not_fail_the_publication(
    tmp_path: Path, registry: Registry, server: Server
):
    registry.deletes = False
    for number in range(2):
        report = published(
            tmp_path / str(number),
            server,
            b"w%d" % number,
            tag=f"v{number}",
            retention={"keepLast": 1},
        )
    told = report.publications[0]
    assert told.state == "Published"
    assert "Retention could not be applied: HTTP 405" in (told.message or "")
