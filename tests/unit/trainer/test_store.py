"""A student in an object store: in a folder of its digest, checked, its list and pointer last."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest
from distill_api.names import Reason, Stage
from distill_api.sources import SecretRef
from distill_api.wire import Report
from distill_trainer.context import Context, store_options
from distill_trainer.errors import BadInput, TryAgain
from distill_trainer.publishing import objects, to_store
from distill_trainer.publishing.listing import NAME, Entry
from distill_trainer.publishing.objects import Objects
from distill_trainer.secrets import Secrets
from distill_trainer.sources import fetching
from distill_trainer.sources.request import Fetched, Request, Role
from distill_trainer.stages import publish
from http_faults import Answer, serving
from moto.server import ThreadedMotoServer
from trainer import a_context, a_task, a_trained_student

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::pytest.PytestWarning"
)
PART = 5 << 20
"""The smallest part that S3 takes."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket, and a pod's Secret that opens it."""

    folder: Path
    uri: str
    store: Objects

    def job(self, weights: bytes = b"12345678", **target: Any) -> Context:
        """Open a job of its own that publishes here."""
        target = {"uri": self.uri, "secretRef": {"name": "store"}, **target}
        task = a_task(self.folder, Stage.PUBLISH, cache=False, publish=[{"s3": target}])
        context = a_context(task, self.folder)
        a_trained_student(context, weights)
        return context

    def published(self, weights: bytes = b"12345678", **target: Any) -> Report:
        """Publish a student here."""
        return publish.run(self.job(weights, **target))

    def fetched(self, uri: str | None = None) -> Fetched:
        """Fetch what is here as a job's student does."""
        into = self.folder / "got"
        into.mkdir(exist_ok=True)
        secrets, opened = Secrets(self.folder / "secrets", "default"), SecretRef(name="store")
        return fetching.fetch(
            Request(Role.STUDENT, uri or self.uri, into, secrets, self.folder, secret=opened)
        )


@pytest.fixture
def place(tmp_path: Path, endpoint: str) -> Place:
    import s3fs

    secret = tmp_path / "secrets" / "store"
    secret.mkdir(parents=True)
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "hush", "AWS_REGION": "us-east-1"}
    for name, value in {**keys, "AWS_ENDPOINT_URL": endpoint}.items():
        (secret / name).write_text(value)
    bucket = "b" + "".join(c for c in tmp_path.name.lower() if c.isalnum())[-40:]
    options = {"key": "id", "secret": "hush", "endpoint_url": endpoint}
    filesystem = s3fs.S3FileSystem(**options)
    filesystem.mkdir(bucket)
    root = f"{bucket}/models/demo"
    return Place(tmp_path, f"s3://{root}", Objects(filesystem, root, PART))


def folder_of(report: Report) -> str:
    assert report.artifact is not None
    return to_store.folder_of(report.artifact.digest)


def test_a_student_lies_in_the_folder_of_its_digest_with_a_pointer(place: Place):
    report = place.published()
    assert report.artifact is not None
    assert report.artifact.uri == f"{place.uri}/{folder_of(report)}"
    listing = json.loads(place.store.read(f"{folder_of(report)}/{NAME}") or b"")
    assert listing["digest"] == report.artifact.digest
    assert set(place.store.find()) == {
        NAME,
        *(f"{folder_of(report)}/{name}" for name in [NAME, *listing["files"]]),
    }
    for uri in (place.uri, report.artifact.uri):
        assert (place.fetched(uri).path / "model.safetensors").read_bytes() == b"12345678"


def test_a_publication_that_was_killed_shows_nothing_and_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    first = place.published()
    sent, send = [], Objects.send

    def dies(store: Objects, path: Path, name: str, *others: Any) -> None:
        if len(sent) == 3:
            raise KeyboardInterrupt
        sent.append(name)
        send(store, path, name, *others)

    monkeypatch.setattr(Objects, "send", dies)
    with pytest.raises(KeyboardInterrupt):
        place.published(b"87654321")
    # Who reads gets the old student, whole.
    assert (place.fetched().path / "model.safetensors").read_bytes() == b"12345678"
    before = [*sent]
    monkeypatch.setattr(Objects, "send", lambda *given: (sent.append(given[2]), send(*given)))
    second = place.published(b"87654321")
    assert len(before) == 3
    assert not set(before) & set(sent[3:])
    assert folder_of(second) != folder_of(first)
    assert (place.fetched().path / "model.safetensors").read_bytes() == b"87654321"


def test_a_large_file_goes_on_with_the_parts_that_are_there(place: Place, tmp_path: Path):
    file, sent = tmp_path / "large", list[int]()
    file.write_bytes(bytes(range(256)) * 4096 * 13)
    entry = Entry(
        "large", file.stat().st_size, objects.hashlib.sha256(file.read_bytes()).hexdigest()
    )

    def dies(done: int) -> None:
        sent.append(done)
        if len(sent) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place.store.send(file, "large", entry, dies)
    assert not place.store.holds("large", entry)
    calls: list[str] = []
    call = place.store.filesystem.call_s3
    place.store.filesystem.call_s3 = lambda m, **given: (calls.append(m), call(m, **given))[1]
    place.store.send(file, "large", entry, sent.append)
    assert calls.count("upload_part") == 1
    assert "create_multipart_upload" not in calls
    assert place.store.holds("large", entry)


def test_a_byte_flipped_in_the_store_is_refused_by_a_reader(place: Place):
    report = place.published()
    name = f"{folder_of(report)}/model.safetensors"
    place.store.write(name, b"12345679")
    with pytest.raises(BadInput, match=r"the content of model.safetensors has changed") as caught:
        place.fetched()
    assert caught.value.reason is Reason.BAD_MODEL


def test_a_store_that_holds_other_bytes_is_noticed_and_the_list_not_written(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    def flips(store: Objects, path: Path, name: str, entry: Entry, _tell: Any) -> None:
        content = path.read_bytes()
        changed = bytes([content[0] ^ 1]) + content[1:]
        metadata = {"sha256": entry.sha256}
        store.call("put_object", **store.key(name), Body=changed, Metadata=metadata)

    with monkeypatch.context() as fault:
        fault.setattr(Objects, "send", flips)
        with pytest.raises(TryAgain, match="holds other bytes of"):
            place.published()
    assert not [name for name in place.store.find() if name.endswith(NAME)]
    report = place.published()  # what is damaged is sent again
    assert (place.fetched().path / "model.safetensors").read_bytes() == b"12345678"
    assert report.publications[0].state == "Published"


def test_older_students_go_unless_a_rollout_names_them(place: Place):
    first = place.published(b"1")
    second = place.published(b"2")
    assert first.artifact is not None
    rule = {"keepLast": 1, "keepDigests": [first.artifact.digest]}
    dry = place.published(b"3", retention={**rule, "dryRun": True})
    assert "Retention would remove 1 older" in (dry.publications[0].message or "")
    third = place.published(b"3", retention=rule)
    assert "Retention removed 1 older" in (third.publications[0].message or "")
    there = {name.partition("/")[0] for name in place.store.find()}
    assert there == {NAME, folder_of(first), folder_of(third)}
    assert folder_of(second) not in there


def test_what_a_rollout_of_the_cluster_serves_stays_without_being_named(place: Place):
    first = place.published(b"1")
    assert first.artifact is not None
    context = place.job(b"2", retention={"keepLast": 1})
    served = context.task.model_copy(update={"served": [first.artifact.digest]})
    report = publish.run(replace(context, task=served))
    assert report.publications[0].message is None
    assert place.fetched(first.artifact.uri).path.is_dir()


def test_a_student_that_the_pointer_names_by_now_stays(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    """Another job publishes between this one's pointer and its retention."""
    others = place.published(b"1")
    retain = to_store._retain

    def meanwhile(store: Objects, *rest: Any) -> str | None:
        folder = folder_of(others)
        store.write(NAME, json.dumps({"digest": "", "folder": folder}).encode())
        return retain(store, *rest)

    monkeypatch.setattr(to_store, "_retain", meanwhile)
    mine = place.published(b"2", retention={"keepLast": 1})
    assert mine.publications[0].message is None
    assert (place.fetched().path / "model.safetensors").read_bytes() == b"1"


@pytest.mark.parametrize("fault", ["removed", "replaced"])
def test_a_file_that_is_missing_behind_its_list_is_sent_again(place: Place, fault: str):
    name = f"{folder_of(place.published())}/model.safetensors"
    if fault == "removed":
        place.store.remove(name)
    else:
        place.store.write(name, b"12345679")
    for output in (place.folder / "workspace").rglob("publish-*"):
        shutil.rmtree(output)  # as after an attempt of which another target failed
    place.published()
    assert (place.fetched().path / "model.safetensors").read_bytes() == b"12345678"


def test_other_stores_than_amazons_are_sent_no_checksums_that_they_refuse(place: Place):
    file = place.folder / "weights"
    file.write_bytes(b"12345678")
    entry = Entry("weights", 8, objects.hashlib.sha256(b"12345678").hexdigest())
    with serving(lambda _: Answer(200, headers={"ETag": '"e"'})) as server:
        (place.folder / "secrets" / "store" / "AWS_ENDPOINT_URL").write_text(server.url)
        secrets = Secrets(place.folder / "secrets", "default")
        options = store_options(secrets, SecretRef(name="store"), place.uri)
        filesystem, root = fsspec.core.url_to_fs(place.uri, **options, skip_instance_cache=True)
        store = Objects(filesystem, root)
        store.send(file, "weights", entry, lambda _: None)
        store.write("artifact.json", b"{}")
        store.call("upload_part", **store.key("w"), UploadId="u", PartNumber=1, Body=b"12345678")
        assert not store.holds("weights", entry)
    assert [call.method for call in server.calls] == ["PUT", "PUT", "PUT", "HEAD"]
    sent = {name.lower() for call in server.calls for name in call.headers}
    assert "authorization" in sent
    assert not [name for name in sent if "checksum" in name or "trailer" in name]


def test_a_version_is_as_old_as_its_list(place: Place):
    report = place.published()
    (version,) = to_store._versions(place.store)
    assert report.artifact is not None
    assert version.digest == report.artifact.digest
    assert datetime.now(UTC) - version.time < timedelta(hours=1)
