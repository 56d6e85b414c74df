"""Workspace, sources and targets in an object store, against an S3 endpoint."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distill_api.names import Reason, Stage
from distill_api.wire import Report, Task
from distill_trainer.context import Context
from distill_trainer.errors import BadInput, TryAgain
from distill_trainer.sources import fetching
from distill_trainer.stages import cleanup, publish
from moto.server import ThreadedMotoServer
from trainer import a_context, a_task, a_trained_student, some_rows, write_jsonl

FINGERPRINT = "sha256:" + "c3" * 32
KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "hush", "AWS_REGION": "us-east-1"}

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::pytest.PytestWarning"
)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def secret(tmp_path: Path, endpoint: str) -> Path:
    folder = tmp_path / "secrets" / "store"
    folder.mkdir(parents=True)
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
        (folder / name).write_text(value)
    return folder


@pytest.fixture
def bucket(secret: Path, endpoint: str, tmp_path: Path) -> str:
    """Return a fresh bucket's name."""
    import s3fs

    name = "b" + "".join(c for c in tmp_path.name.lower() if c.isalnum())[-40:]
    options = {"key": "id", "secret": "hush", "endpoint_url": endpoint}
    s3fs.S3FileSystem(**options).mkdir(name)
    return name


def a_job(folder: Path, bucket: str, stage: Stage = Stage.TRAIN, **spec: Any) -> Context:
    """Open a job whose workspace lies in the bucket."""
    workspace = {"uri": f"s3://{bucket}/jobs", "secretRef": {"name": "store"}}
    task = a_task(folder, stage, workspace=workspace, **spec)
    moved = {"workspace": f"s3://{bucket}/jobs/uid-1", "label_cache": f"s3://{bucket}/labels"}
    return a_context(Task.model_validate({**task.model_dump(), **moved}), folder)


def complete(context: Context) -> None:
    draft = context.workspace.draft(Stage.TRAIN, FINGERPRINT)
    (draft.path / "student").mkdir(exist_ok=True)
    (draft.path / "student" / "weights").write_bytes(b"1234")
    draft.commit(Report(stage=Stage.TRAIN, outcome="Done", fingerprint=FINGERPRINT))


def test_an_output_is_found_by_another_pod(tmp_path: Path, bucket: str):
    complete(a_job(tmp_path, bucket))
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "secrets").mkdir(parents=True)
    (elsewhere / "secrets" / "store").symlink_to(tmp_path / "secrets" / "store")
    found = a_job(elsewhere, bucket).workspace.output(Stage.TRAIN)
    assert found.path.is_relative_to(elsewhere)
    assert (found.path / "student" / "weights").read_bytes() == b"1234"


def test_what_an_interrupted_pod_kept_is_there_for_the_next(tmp_path: Path, bucket: str):
    draft = a_job(tmp_path, bucket).workspace.draft(Stage.TRAIN, FINGERPRINT)
    for name in ("checkpoints/step-1/weights", "checkpoints/step-1/COMPLETE", "loose"):
        (draft.path / name).parent.mkdir(parents=True, exist_ok=True)
        (draft.path / name).write_text(name)
    draft.keep("checkpoints/step-1")
    shutil.rmtree(next((tmp_path / "scratch").glob("*/mirror")))
    again = a_job(tmp_path, bucket).workspace.draft(Stage.TRAIN, FINGERPRINT)
    assert (again.path / "checkpoints/step-1/COMPLETE").read_text().endswith("COMPLETE")
    assert not (again.path / "loose").exists()
    again.drop("checkpoints/step-1")
    assert "checkpoints/step-1/COMPLETE" not in again.folder.sizes()


def test_a_damaged_object_is_noticed(tmp_path: Path, bucket: str):
    context = a_job(tmp_path, bucket)
    complete(context)
    folder = context.workspace.output(Stage.TRAIN).folder
    folder.filesystem.pipe_file(f"{folder.root}/student/weights", b"12345")
    assert context.workspace.find(Stage.TRAIN, FINGERPRINT) is None


def test_of_two_writers_the_first_one_stays(tmp_path: Path, bucket: str):
    folder = a_job(tmp_path, bucket).workspace.folder
    assert folder.create("shard", b"one")
    (folder.path / "shard").unlink()
    assert not folder.create("shard", b"two")
    assert folder.read("shard") == b"one"
    assert (folder.path / "shard").read_bytes() == b"one"


def test_cleanup_removes_the_jobs_folder_and_nothing_else(tmp_path: Path, bucket: str):
    context = a_job(tmp_path, bucket, Stage.CLEANUP)
    complete(context)
    filesystem = context.workspace.folder.filesystem
    filesystem.pipe_file(f"{bucket}/labels/label-1/manifest.json", b"{}")
    report = cleanup.run(context)
    assert "is removed" in report.summary
    filesystem.invalidate_cache()
    assert filesystem.find(bucket) == [f"{bucket}/labels/label-1/manifest.json"]
    assert cleanup.run(context).outcome == "Done", "an empty workspace is fine"


def test_data_comes_from_a_prefix(tmp_path: Path, bucket: str):
    rows = write_jsonl(tmp_path / "rows.jsonl", some_rows(3))
    filesystem = a_job(tmp_path, bucket).workspace.folder.filesystem
    for name in ("a.jsonl", "deep/b.jsonl"):
        filesystem.put_file(str(rows), f"{bucket}/data/{name}")
    source = {"uri": f"s3://{bucket}/data", "secretRef": {"name": "store"}}
    context = a_job(tmp_path, bucket, data={"source": source})
    fetched = fetching.fetch_data(context, context.task.spec.data.source)
    assert (fetched.path / "deep" / "b.jsonl").read_text() == rows.read_text()


def test_an_absent_prefix_is_bad_input_and_a_wrong_key_is_waited_for(tmp_path: Path, bucket: str):
    source = {"uri": f"s3://{bucket}/absent", "secretRef": {"name": "store"}}
    context = a_job(tmp_path, bucket, data={"source": source})
    with pytest.raises(BadInput) as caught:
        fetching.fetch_data(context, context.task.spec.data.source)
    assert caught.value.reason is Reason.DATA_UNREACHABLE
    (tmp_path / "secrets" / "store" / "AWS_SECRET_ACCESS_KEY").unlink()
    with pytest.raises(TryAgain) as missing:
        fetching.fetch_data(context, context.task.spec.data.source)
    assert missing.value.reason is Reason.SECRET_MISSING


def test_a_bucket_that_is_missing_is_told(tmp_path: Path, bucket: str):
    target = {"s3": {"uri": "s3://no-such-bucket/models", "secretRef": {"name": "store"}}}
    context = a_job(tmp_path, bucket, Stage.PUBLISH, publish=[target])
    a_trained_student(context)
    with pytest.raises(BadInput, match="the bucket does not exist"):
        publish.run(context)
