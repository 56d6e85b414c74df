"""Label and prepare with a real, tiny teacher: resumed, shared, reused, refused."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from distill_api.names import Reason, Stage
from distill_api.wire import Report
from distill_trainer.components.embedding import label, prepare
from distill_trainer.context import Context
from distill_trainer.errors import BadInput, TryAgain
from distill_trainer.labelling import shards
from distill_trainer.teachers import opening
from pyarrow import parquet
from sentence_transformers import SentenceTransformer
from trainer import a_context, a_task, some_rows, write_jsonl

ROWS = 200


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    tiny_models.teacher(layers=2).save_pretrained(str(folder))
    return folder


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make shards of 32 texts, so that a few hundred texts fill several."""
    monkeypatch.setattr(shards, "SIZE", 32)


def a_job(
    folder: Path, weights: Path, stage: Stage = Stage.LABEL, uid: str = "uid-1", **changes: Any
) -> Context:
    """Open a stage of a job on ROWS records; everything lies below the folder."""
    data = folder / "data.jsonl"
    if not data.exists():
        write_jsonl(data, some_rows(ROWS))
    spec: dict[str, Any] = {
        "teacher": {"model": {"uri": f"file://{weights}"}, "batchSize": 8},
        "data": {"source": {"uri": f"file://{data}"}},
    }
    return a_context(a_task(folder, stage, uid=uid, **{**spec, **changes}), folder)


def vectors(context: Context) -> np.ndarray:
    """Read all embeddings of the job's labels."""
    output = context.workspace.output(Stage.LABEL)
    settings = json.loads((output.path / "label.json").read_text())
    return np.concatenate([shards.load(output.path / name)[0] for name in settings["shards"]])


def test_labels_are_what_the_teacher_says(tmp_path: Path, teacher: Path, small_shards: None):
    prompts = {"query": "a1 ", "document": "b2 "}
    spec = {"model": {"uri": f"file://{teacher}"}, "batchSize": 8, "prompts": prompts}
    context = a_job(tmp_path, teacher, teacher=spec)
    report = label.run(context)
    output = context.workspace.output(Stage.LABEL)
    texts = parquet.read_table(output.path / "texts.parquet").to_pylist()
    model = SentenceTransformer(str(teacher), device="cpu")
    asked = [prompts[row["kind"]] + row["text"] for row in texts]
    expected = model.encode(asked, convert_to_numpy=True, show_progress_bar=False)
    np.testing.assert_allclose(vectors(context), expected, atol=1e-6)
    assert report.usage.teacher_tokens == sum(
        int(model.preprocess([text])["attention_mask"].sum()) for text in asked
    )
    assert report.facts["normalized"] == "true"


def test_an_interrupted_labelling_goes_on_and_gives_the_same_bits(
    tmp_path: Path, teacher: Path, small_shards: None
):
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = a_job(tmp_path / "whole", teacher)
    label.run(whole)
    cut = a_job(tmp_path / "cut", teacher)
    stop_after(cut, 100)
    with pytest.raises(TryAgain, match="asked to end"):
        label.run(cut)
    done = list((tmp_path / "cut" / "labels").rglob("*.safetensors"))
    assert 0 < len(done) < 12
    before = {path: path.stat().st_mtime_ns for path in done}
    again = a_job(tmp_path / "cut", teacher)
    label.run(again)
    assert {path: path.stat().st_mtime_ns for path in done} == before
    np.testing.assert_array_equal(vectors(again), vectors(whole))


def stop_after(context: Context, texts: int) -> None:
    """Ask the pod to end once so many texts are labelled."""
    tell = context.progress.tell

    def telling(done: float, total: float, *rest: Any) -> None:
        tell(done, total, *rest)
        if done >= texts:
            context.stop.set()

    context.progress.tell = telling  # type: ignore[method-assign]  # a fault, injected


def test_a_half_written_shard_is_made_again(tmp_path: Path, teacher: Path, small_shards: None):
    first = a_job(tmp_path, teacher)
    label.run(first)
    good = vectors(first)
    folder = first.workspace.output(Stage.LABEL).path
    (folder / "manifest.json").unlink()
    shard = folder / "shards" / "000001.safetensors"
    shard.write_bytes(shard.read_bytes()[:100])
    report = label.run(a_job(tmp_path, teacher))
    assert not report.reused
    np.testing.assert_array_equal(vectors(first), good)


def test_a_second_job_takes_the_labels_of_the_first(
    tmp_path: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch
):
    first = label.run(a_job(tmp_path, teacher))
    monkeypatch.setattr(opening, "open_teacher", lambda *_, **__: pytest.fail("asked again"))
    second = label.run(a_job(tmp_path, teacher, uid="uid-2"))
    assert second.reused
    assert second.fingerprint == first.fingerprint
    assert second.usage.teacher_tokens is None


def test_a_complete_stage_answers_at_once_without_its_inputs(tmp_path: Path, teacher: Path):
    label.run(a_job(tmp_path, teacher))
    (tmp_path / "data.jsonl").unlink()
    context = a_context(a_job_without_data(tmp_path, teacher), tmp_path)
    report = label.run(context)
    assert report.reused
    assert (report.usage.teacher_tokens or 0) > 0


def a_job_without_data(folder: Path, weights: Path) -> Any:
    spec = {
        "teacher": {"model": {"uri": f"file://{weights}"}, "batchSize": 8},
        "data": {"source": {"uri": f"file://{folder}/data.jsonl"}},
    }
    return a_task(folder, Stage.LABEL, **spec)


def test_two_jobs_at_once_label_together(tmp_path: Path, teacher: Path, small_shards: None):
    contexts = [a_job(tmp_path, teacher, uid=uid) for uid in ("uid-1", "uid-2")]
    reports: list[Report] = []
    threads = [
        threading.Thread(target=lambda c=context: reports.append(label.run(c)))
        for context in contexts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert len(reports) == 2
    np.testing.assert_array_equal(vectors(contexts[0]), vectors(contexts[1]))
    assert vectors(contexts[0]).shape[0] > ROWS


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (some_rows(3), "The data has 3 records"),
        (some_rows(1) * 500, "499 of them repeat another one"),
        ([{"document": f"d{n}"} for n in range(50)], "The data has 0 records"),
        ([], "The data has no rows"),
    ],
    ids=["three rows", "copies only", "no queries", "nothing"],
)
def test_hopeless_data_is_refused_before_the_teacher_is_loaded(
    tmp_path: Path, rows: list[dict[str, Any]], expected: str
):
    write_jsonl(tmp_path / "data.jsonl", rows)
    with pytest.raises(BadInput) as caught:
        label.run(a_job(tmp_path, tmp_path / "no-teacher-there"))
    assert caught.value.reason is Reason.BAD_DATA
    assert expected in caught.value.sentence


def test_a_teacher_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(BadInput) as caught:
        label.run(a_job(tmp_path, tmp_path / "nowhere"))
    assert caught.value.reason is Reason.TEACHER_UNREACHABLE


def test_a_broken_teacher_is_a_bad_model(tmp_path: Path, teacher: Path):
    broken = tmp_path / "broken"
    shutil.copytree(teacher, broken)
    weights = next(broken.rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BadInput) as caught:
        label.run(a_job(tmp_path, broken))
    assert caught.value.reason is Reason.BAD_MODEL


def test_a_teacher_cannot_read_more_than_it_has_positions(tmp_path: Path, teacher: Path):
    spec = {"model": {"uri": f"file://{teacher}"}, "maxLength": 512}
    with pytest.raises(BadInput, match="at most 64"):
        label.run(a_job(tmp_path, teacher, teacher=spec))


def test_prepare_leaves_what_the_student_learns_from(tmp_path: Path, teacher: Path):
    label.run(a_job(tmp_path, teacher))
    context = a_job(tmp_path, teacher, Stage.PREPARE)
    report = prepare.run(context)
    output = context.workspace.output(Stage.PREPARE)
    embeddings = np.load(output.path / "embeddings.npy")
    records = parquet.read_table(output.path / "records.parquet").to_pylist()
    texts = parquet.read_table(output.path / "texts.parquet").to_pylist()
    mined = np.load(output.path / "negatives.npy")
    np.testing.assert_array_equal(embeddings, vectors(context))
    assert mined.shape == (len(records), 4)
    splits = {"train": 0, "validation": 0, "test": 0}
    for record in records:
        splits[record["split"]] += 1
        both = [embeddings[record[side]] for side in ("query_id", "document_id")]
        assert record["teacher_score"] == pytest.approx(float(both[0] @ both[1]), abs=1e-5)
    assert {name: str(count) for name, count in splits.items()} == {
        name: report.facts[name] for name in splits
    }
    answered = {(record["query_id"], record["document_id"]) for record in records}
    filled = [
        (record, negative)
        for record, row in zip(records, mined, strict=True)
        for negative in row[row >= 0]
    ]
    assert len(filled) > 50
    for record, negative in filled:
        assert record["split"] == texts[negative]["split"] == "train"
        assert texts[negative]["kind"] == "document"
        assert (record["query_id"], negative) not in answered
    assert report.facts["leaks"] == "0"


def test_no_text_of_the_test_is_learnt_from_though_the_data_names_it_as_a_negative(
    tmp_path: Path, teacher: Path
):
    rows = some_rows(ROWS)
    for place, row in enumerate(rows):
        row["negatives"] = [rows[(place + step) % ROWS]["document"] for step in (17, 41)]
    write_jsonl(tmp_path / "data.jsonl", rows)
    label.run(a_job(tmp_path, teacher))
    context = a_job(tmp_path, teacher, Stage.PREPARE)
    prepare.run(context)
    output = context.workspace.output(Stage.PREPARE)
    texts = parquet.read_table(output.path / "texts.parquet").to_pylist()
    records = parquet.read_table(output.path / "records.parquet").to_pylist()
    mined = np.load(output.path / "negatives.npy")
    train = np.array([record["split"] == "train" for record in records])
    assert {texts[one]["split"] for one in mined[train].ravel() if one >= 0} == {"train"}
    # Of those that are left, the data's own come first.
    named = {row["query"]: row["negatives"] for row in rows}
    own = [
        texts[first]["text"] in named[texts[record["query_id"]]["text"]]
        for record, first in zip(records, mined[:, 0], strict=True)
        if record["split"] == "train" and first >= 0
    ]
    assert sum(own) > len(own) / 2


def test_prepare_says_the_same_again(tmp_path: Path, teacher: Path):
    label.run(a_job(tmp_path, teacher))
    first = prepare.run(a_job(tmp_path, teacher, Stage.PREPARE))
    again = prepare.run(a_job(tmp_path, teacher, Stage.PREPARE))
    assert not first.reused
    assert again.reused
    assert again.summary == first.summary


def test_a_job_with_other_splits_shares_labels_but_not_preparation(tmp_path: Path, teacher: Path):
    label.run(a_job(tmp_path, teacher))
    first = prepare.run(a_job(tmp_path, teacher, Stage.PREPARE))
    data = {
        "source": {"uri": f"file://{tmp_path}/data.jsonl"},
        "splits": {"train": 60, "validation": 20, "test": 20},
    }
    assert label.run(a_job(tmp_path, teacher, uid="uid-2", data=data)).reused
    second = prepare.run(a_job(tmp_path, teacher, Stage.PREPARE, uid="uid-2", data=data))
    assert second.fingerprint != first.fingerprint


def test_a_teacher_that_changed_since_labelling_is_noticed(tmp_path: Path, teacher: Path):
    changing = tmp_path / "changing"
    shutil.copytree(teacher, changing)
    label.run(a_job(tmp_path, changing))
    context = a_job(tmp_path, changing, Stage.PREPARE)
    prepare.run(context)
    assert opening.weights(context) == changing
    (changing / "README.md").write_text("another model")
    with pytest.raises(BadInput, match="has changed since it labelled"):
        opening.weights(context)


def test_labels_that_the_cache_lost_are_made_again(tmp_path: Path, teacher: Path):
    label.run(a_job(tmp_path, teacher))
    shutil.rmtree(tmp_path / "labels")
    report = prepare.run(a_job(tmp_path, teacher, Stage.PREPARE))
    assert (report.usage.teacher_tokens or 0) > 0
    assert report.facts["records"] == str(ROWS)
