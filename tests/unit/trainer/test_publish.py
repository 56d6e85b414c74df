"""What is published, its digests, and what each refusal of a registry means."""

import errno
import hashlib
import json
import os
import shutil
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from distill_api.names import Reason, Stage
from distill_api.status import EvaluationStatus, Speed
from distill_api.targets import OciTarget
from distill_common.registry import RegistryError
from distill_trainer.context import Context
from distill_trainer.errors import BadInput, TryAgain
from distill_trainer.publishing import layer, listing, to_oci, to_volume
from distill_trainer.publishing.target import Parcel
from distill_trainer.secrets import Secrets
from distill_trainer.sources import fetching
from distill_trainer.sources.request import Request, Role
from distill_trainer.stages import publish
from http_faults import Answer, Call, serving
from trainer import a_context, a_task, a_trained_student


def a_job(folder: Path, more: Mapping[str, bytes] | None = None, **changes: Any) -> Context:
    (folder / "volumes" / "models").mkdir(parents=True, exist_ok=True)
    context = a_context(a_task(folder, Stage.PUBLISH, cache=False, **changes), folder)
    a_trained_student(context, more=more)
    return context


def test_a_student_is_published_to_a_volume(tmp_path: Path):
    report = publish.run(a_job(tmp_path))
    folder = tmp_path / "volumes" / "models" / "models"
    assert report.artifact is not None
    assert report.artifact.uri == "pvc://models/models"
    assert (folder / "model.safetensors").read_bytes() == b"12345678"
    lineage = json.loads((folder / "lineage.json").read_text())
    assert lineage["teacher"] == "sha256:" + "1" * 64
    assert lineage["weights"] == report.artifact.weights_digest
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: sentence-transformers")
    assert "80 records for training" in card
    assert "3 duplicates" in card
    assert [path.name for path in folder.parent.iterdir()] == ["models"]


def test_the_tokens_of_the_training_are_published_and_their_digest_noted(tmp_path: Path):
    content = b'{"format": "kubedistill.io/token-ids.v1"}'
    context = a_job(tmp_path, more={"student/token_ids.json": content})
    artifact = publish.run(context).artifact
    assert artifact is not None
    assert artifact.token_ids_digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    folder = tmp_path / "volumes" / "models" / "models"
    assert (folder / "token_ids.json").read_bytes() == content


def test_a_student_without_them_has_no_such_digest(tmp_path: Path):
    artifact = publish.run(a_job(tmp_path)).artifact
    assert artifact is not None
    assert artifact.token_ids_digest is None


def test_publishing_again_is_reused(tmp_path: Path):
    first = publish.run(a_job(tmp_path))
    again = publish.run(a_job(tmp_path))
    assert again.reused
    assert again.artifact == first.artifact


def test_an_older_student_is_replaced_whole(tmp_path: Path):
    folder = tmp_path / "volumes" / "models" / "models"
    folder.mkdir(parents=True)
    (folder / "stale").write_text("of an older student")
    publish.run(a_job(tmp_path))
    assert not (folder / "stale").exists()
    assert (folder / "artifact.json").is_file()


def test_several_targets_are_all_told(tmp_path: Path):
    targets = [{"pvc": {"claimName": "models", "path": name}} for name in ("one", "two/deep")]
    artifact = publish.run(a_job(tmp_path, publish=targets)).artifact
    assert artifact is not None
    assert (artifact.uri, artifact.also) == ("pvc://models/one", ["pvc://models/two/deep"])


def test_one_target_that_fails_does_not_keep_the_others_from_theirs(tmp_path: Path):
    targets = [{"pvc": {"claimName": name}} for name in ("absent", "models")]
    context = a_job(tmp_path, publish=targets)
    with pytest.raises(
        BadInput, match=r'1 of 2 targets .* claim "absent" is not mounted'
    ) as caught:
        publish.run(context)
    assert not (context.workspace.folder.path / "publish.json").exists()
    told = caught.value.publications
    assert [(one.target, one.state, one.uri) for one in told] == [
        (0, "Failed", None),
        (1, "Published", "pvc://models/models"),
    ]
    assert (tmp_path / "volumes" / "models" / "models" / "artifact.json").is_file()


def test_what_failed_for_now_is_tried_again_and_only_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    targets = [{"pvc": {"claimName": "models", "path": name}} for name in ("one", "two")]
    filled, fill = [], to_volume._fill

    def full(new: Path, parcel: Parcel) -> None:
        filled.append(new.name)
        if new.name.startswith(".two") and len(filled) < 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        fill(new, parcel)

    monkeypatch.setattr(to_volume, "_fill", full)
    with pytest.raises(TryAgain, match=r"publish\[1\]: A volume is full") as caught:
        publish.run(a_job(tmp_path, publish=targets))
    assert caught.value.reason is Reason.VOLUME_FULL
    first = caught.value.publications[0]
    report = publish.run(a_job(tmp_path, publish=targets))
    assert [name.split(".")[1] for name in filled] == ["one", "two", "two"]
    assert report.publications[0] == first
    assert [one.state for one in report.publications] == ["Published", "Published"]


def test_a_copy_that_was_killed_shows_the_old_student_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    publish.run(a_job(tmp_path))
    newer = a_context(a_task(tmp_path, Stage.PUBLISH, cache=False, uid="uid-2"), tmp_path)
    a_trained_student(newer, b"87654321")
    copied, copy = list[str](), shutil.copyfile

    def dies(source: Path, target: Path, **more: Any) -> Any:
        if ".new" in str(target) and len(copied) == 4:
            raise KeyboardInterrupt
        if ".new" in str(target):
            copied.append(Path(target).name)
        return copy(source, target, **more)

    monkeypatch.setattr(to_volume.shutil, "copyfile", dies)
    with pytest.raises(KeyboardInterrupt):
        publish.run(newer)
    place = tmp_path / "volumes" / "models" / "models"
    assert (place / "model.safetensors").read_bytes() == b"12345678"
    assert listing.damage(place) is None
    before = [*copied]
    copied[:] = [""] * 9  # dies no more
    publish.run(newer)
    assert not set(before) & set(copied[9:])
    assert (place / "model.safetensors").read_bytes() == b"87654321"
    assert [path.name for path in place.parent.iterdir()] == ["models"]


def test_what_killed_publications_left_on_a_volume_goes_and_what_others_copy_stays(tmp_path: Path):
    context, volume = a_job(tmp_path), tmp_path / "volumes" / "models"
    for name in (".models.0123.new", ".models.4567.new", ".others.0123.new"):
        (volume / name).mkdir()
        (volume / name / "model.safetensors").write_bytes(b"1")
    long_ago = time.time() - 2 * to_volume.STALE
    for name in (".models.0123.new", ".others.0123.new"):
        os.utime(volume / name, (long_ago, long_ago))
    publish.run(context)
    left = {path.name for path in volume.iterdir()}
    assert left == {"models", ".models.4567.new", ".others.0123.new"}


@pytest.mark.parametrize("can", [True, False], ids=["exchange", "two renames"])
def test_a_damaged_copy_is_refused_by_readers_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, can: bool
):
    report = publish.run(a_job(tmp_path))
    place = tmp_path / "volumes" / "models" / "models"
    (place / "model.safetensors").write_bytes(b"12345679")
    request = Request(
        Role.STUDENT, "pvc://models/models", tmp_path, Secrets(tmp_path, ""), tmp_path / "volumes"
    )
    with pytest.raises(BadInput, match=r"the content of model.safetensors has changed"):
        fetching.fetch(request)
    if not can:
        monkeypatch.setattr(to_volume, "_exchanged", lambda *_: False)
    again = a_context(a_task(tmp_path, Stage.PUBLISH, cache=False, uid="uid-2"), tmp_path)
    a_trained_student(again)
    assert publish.run(again).artifact != report.artifact  # another job, by its lineage
    assert (fetching.fetch(request).path / "model.safetensors").read_bytes() == b"12345678"
    assert [path.name for path in place.parent.iterdir()] == ["models"]


def test_the_manifest_tells_what_the_student_was_made_from(tmp_path: Path):
    base = "oci://r.example.com/teachers/minilm"
    context = a_job(tmp_path, teacher={"model": {"uri": f"{base}:v1@sha256:{'1' * 64}"}})
    trained, evaluated = (context.workspace.output(s) for s in (Stage.TRAIN, Stage.EVALUATE))
    material = publish._material(context, trained, evaluated, None)
    found = publish.annotations(material, publish._assemble(context, material))
    assert found["org.opencontainers.image.title"] == "demo"
    assert found["org.opencontainers.image.base.name"] == "r.example.com/teachers/minilm:v1"
    assert found["org.opencontainers.image.base.digest"] == "sha256:" + "1" * 64
    assert found["io.kubedistill.data"] == "sha256:" + "2" * 64
    assert found["io.kubedistill.job"] == "default/demo"
    assert found["io.kubedistill.job.uid"] == "uid-1"


def test_a_missed_gate_stops_the_publication():
    speed = Speed(
        p50_milliseconds="1", p95_milliseconds="1", p99_milliseconds="1", items_per_second="1"
    )
    missed = EvaluationStatus(
        verdict="Missed",
        explanation="nDCG@10 keeps 80 %",
        scores=[],
        student=speed,
        teacher=speed,
        speedup="1",
        student_parameters=1,
        teacher_parameters=1,
        queries=1,
        documents=1,
    )
    task = a_task(Path("/unused"), Stage.PUBLISH)
    with pytest.raises(BadInput, match="nDCG@10 keeps 80 %"):
        publish._check_verdict(task, missed)
    allowed = a_task(Path("/unused"), Stage.PUBLISH, evaluation={"onMissedGate": "Publish"})
    publish._check_verdict(allowed, missed)


def a_folder(path: Path, weights: bytes = b"w" * 100_000) -> Path:
    (path / "1_Pooling").mkdir(parents=True)
    (path / "1_Pooling" / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(weights)
    return path


def test_a_layers_bytes_depend_on_the_content_alone(tmp_path: Path):
    one, two = (a_folder(tmp_path / name) for name in ("one", "two"))
    (two / "model.safetensors").chmod(0o600)
    other = a_folder(tmp_path / "other", b"v" * 100_000)
    layers = [layer.write(path, tmp_path / f"{path.name}.tar.gz") for path in (one, two, other)]
    assert layers[0].digest == layers[1].digest
    assert layers[0].diff_id == layers[1].diff_id
    assert layers[2].digest != layers[0].digest


def test_a_layer_holds_the_files_below_models_readable_by_all(tmp_path: Path):
    packed = layer.write(a_folder(tmp_path / "one"), tmp_path / "layer.tar.gz")
    with tarfile.open(packed.path) as tar:
        entries = {entry.name: entry for entry in tar.getmembers()}
    assert list(entries) == [
        "models",
        "models/1_Pooling",
        "models/1_Pooling/config.json",
        "models/model.safetensors",
    ]
    assert {entry.mode for entry in entries.values() if entry.isfile()} == {0o644}
    assert {(entry.uid, entry.mtime, entry.uname) for entry in entries.values()} == {(0, 0, "")}


CASES: list[tuple[int, str | None, type[Exception], Reason]] = [
    (0, None, TryAgain, Reason.REGISTRY_UNREACHABLE),
    (503, None, TryAgain, Reason.REGISTRY_UNREACHABLE),
    (429, None, TryAgain, Reason.REGISTRY_UNREACHABLE),
    (401, None, BadInput, Reason.REGISTRY_UNREACHABLE),
    (403, "login", TryAgain, Reason.SECRET_MISSING),
    (404, None, BadInput, Reason.REGISTRY_UNREACHABLE),
]


@pytest.mark.parametrize(("status", "secret", "kind", "reason"), CASES)
def test_what_a_registry_answers_decides_the_retry(
    status: int, secret: str | None, kind: type[Exception], reason: Reason
):
    target = OciTarget(
        repository="r.example.com/m/s", secret_ref={"name": secret} if secret else None
    )
    found = to_oci.classify(target, RegistryError(status, "HTTP"))
    assert isinstance(found, kind)
    assert found.reason is reason  # type: ignore[attr-defined]  # both classes have it


class Registry:
    """A registry that forgets what it is told to: `lie` answers another manifest."""

    def __init__(self, *, lie: bool) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifest = b""
        self.lie = lie

    def answer(self, call: Call) -> Answer:
        """Answer as a registry, except for the fault."""
        if call.method == "POST":
            return Answer(202, headers={"Location": f"{call.path}u1?state=s"})
        if "/blobs/uploads/" in call.path:
            self.blobs[call.path.partition("digest=")[2]] = call.body
            return Answer(201)
        if call.method == "HEAD":
            return Answer(200 if call.path.rpartition("/")[2] in self.blobs else 404)
        if call.method == "PUT":
            self.manifest = call.body
            return Answer(201)
        return Answer(200, b"{}" if self.lie else self.manifest)


def test_a_registry_that_stored_something_else_is_noticed(tmp_path: Path):
    registry = Registry(lie=True)
    with serving(registry.answer) as server:
        repository = server.url.removeprefix("http://") + "/m/s"
        target = {"oci": {"repository": repository, "plainHttp": True}}
        with pytest.raises(TryAgain, match="the registry stored"):
            publish.run(a_job(tmp_path, publish=[target]))


def test_blobs_that_are_there_are_not_sent_again(tmp_path: Path):
    registry = Registry(lie=False)
    with serving(registry.answer) as server:
        repository = server.url.removeprefix("http://") + "/m/s"
        target = {"oci": {"repository": repository, "plainHttp": True}}
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            artifact = publish.run(a_job(tmp_path / folder, publish=[target])).artifact
            assert artifact is not None
            assert artifact.uri == f"oci://{repository}:demo@{artifact.digest}"
    assert sum(call.method == "POST" for call in server.calls) == 2
    assert len(registry.blobs) == 2
