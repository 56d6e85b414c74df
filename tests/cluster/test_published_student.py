"""A published student on a real registry and a real node: pushed, pulled, mounted."""

import hashlib
import json
import secrets
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from devcluster import Cluster
from distill_api.wire import Report
from distill_common import registry
from distill_common.registry import Client
from distill_trainer.publishing import history, manifests, pull, signing, uploading
from distill_trainer.publishing.uploading import Blob, Uploader
from distill_trainer.stages import publish
from published import a_pod_that_reads, a_publication, published
from trainer import a_trained_student


@pytest.fixture(scope="module")
def host(cluster: Cluster) -> str:
    """Return the registry's address."""
    return cluster.registry


@pytest.fixture
def room(host: str) -> str:
    """Return a part of the registry of this test's own: it keeps what earlier runs pushed."""
    return f"{host}/tests-{secrets.token_hex(5)}"


def test_what_is_pushed_can_be_pulled_and_is_the_same(tmp_path: Path, room: str):
    report = published(tmp_path / "one", f"{room}/pulled")
    artifact = report.artifact
    assert artifact is not None
    fetched = pull.pull(artifact.uri, tmp_path / "got", plain_http=True)
    weights = tmp_path / "got" / "models" / "model.safetensors"
    assert fetched.digest == artifact.digest
    assert weights.read_bytes() == b"12345678"
    assert artifact.weights_digest == "sha256:" + hashlib.sha256(b"12345678").hexdigest()
    names = {path.name for path in (tmp_path / "got" / "models").iterdir()}
    assert {"README.md", "lineage.json", "report.html", "modules.json", "1_Pooling"} <= names


def test_equal_content_has_an_equal_digest_and_is_pushed_once(tmp_path: Path, host: str, room: str):
    first = published(tmp_path / "one", f"{room}/equal")
    again = published(tmp_path / "two", f"{room}/equal")
    other = published(tmp_path / "three", f"{room}/equal", b"87654321")
    assert first.artifact is not None
    assert first.artifact == again.artifact
    assert other.artifact is not None
    assert other.artifact.weights_digest != first.artifact.weights_digest
    tagged = registry.parse(f"{room}/equal:demo")
    _, digest = registry.manifest(Client(host, plain_http=True, config=None), tagged)
    assert digest == other.artifact.digest


# oras-py 0.2.43 leaves the choice of tarfile's filter to Python.
@pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")
def test_oras_pulls_it_by_its_own_means(tmp_path: Path, host: str, room: str):
    report = published(tmp_path / "one", f"{room}/oras")
    assert report.artifact is not None
    client = Client(host, plain_http=True, config=None)
    target = report.artifact.uri.removeprefix("oci://")
    files = client.pull(target, outdir=str(tmp_path / "got"))
    assert [Path(file).name for file in files] == ["models"]
    assert (tmp_path / "got" / "models" / "model.safetensors").read_bytes() == b"12345678"


def test_two_jobs_push_the_same_student_at_once(tmp_path: Path, room: str):
    results: list[Report] = []

    def run(name: str) -> None:
        results.append(published(tmp_path / name, f"{room}/race"))

    threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    digests = {report.artifact.digest for report in results if report.artifact}
    assert len(results) == 3
    assert len(digests) == 1


def test_a_node_mounts_it_as_an_image_volume(
    tmp_path: Path, cluster: Cluster, room: str, space: str
):
    report = published(tmp_path / "one", f"{room}/mounted")
    assert report.artifact is not None
    reference = report.artifact.uri.removeprefix("oci://")
    pod = a_pod_that_reads(reference)
    (tmp_path / "pod.json").write_text(json.dumps(pod))
    cluster.kubectl("-n", space, "apply", "-f", str(tmp_path / "pod.json"))
    cluster.kubectl(
        "-n", space, "wait", "pod/reader", "--for=jsonpath={.status.phase}=Succeeded",
        "--timeout=180s",
    )  # fmt: skip
    assert cluster.kubectl("-n", space, "logs", "reader").strip() == "12345678"


def test_a_layer_that_was_broken_off_goes_on_from_its_last_chunk(
    tmp_path: Path, host: str, room: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(uploading, "CHUNK", 10_000)
    sent, send = list[tuple[int, int]](), Uploader._chunk

    def breaks(uploader: Uploader, place: str, blob: Blob, file: Any, part: tuple[int, int]) -> Any:
        if len(sent) == 2:
            raise KeyboardInterrupt
        sent.append(part)
        return send(uploader, place, blob, file, part)

    weights = bytes(range(256)) * 200
    monkeypatch.setattr(Uploader, "_chunk", breaks)
    with pytest.raises(KeyboardInterrupt):
        published(tmp_path, f"{room}/resumed", weights)
    # Killed half-way: there is nothing to read, by tag or otherwise.
    client = Client(host, plain_http=True, config=None)
    reference = registry.parse(f"{room}/resumed:demo")
    assert manifests.get(client, reference, "demo") is None
    sent[:] = [(0, 0)] * 9  # breaks no more
    report = published(tmp_path, f"{room}/resumed", weights)
    assert sent[9] == (20_000, 10_000)
    assert report.artifact is not None
    pull.pull(report.artifact.uri, tmp_path / "got", plain_http=True)
    assert (tmp_path / "got" / "models" / "model.safetensors").read_bytes() == weights


def test_it_is_signed_and_older_students_go(tmp_path: Path, host: str, room: str):
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    digests = []
    for number in range(3):
        folder = tmp_path / str(number)
        kept = folder / "secrets" / "signer"
        kept.mkdir(parents=True)
        (kept / signing.KEY).write_bytes(pem)
        context = a_publication(
            folder,
            f"{room}/retained",
            tag=f"v{number}",
            sign={"secretRef": {"name": "signer"}},
            retention={"keepLast": 2},
        )
        a_trained_student(context, b"weights %d" % number)
        digests.append(publish.run(context).publications[0].digest or "")
    client = Client(host, plain_http=True, config=None)
    where = registry.parse(f"{room}/retained")
    assert set(manifests.tags(client, where)) == {
        "v1",
        "v2",
        history.TAG,
        *(signing.tag(digest) for digest in digests[1:]),
    }
    signed = json.loads(manifests.get(client, where, signing.tag(digests[2])) or b"")["layers"][0]
    answer = client.do_request(f"http://{host}/v2/{where.repository}/blobs/{signed['digest']}")
    signature = signed["annotations"][signing.ANNOTATION]
    assert signing.claims(answer.content, digests[2])
    assert signing.verified(key.public_key(), answer.content, signature)
