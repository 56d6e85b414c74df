"""A reranker from teacher to measured student: label, prepare, train and evaluate, for real."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_rankers
from distill_api.names import Reason, Stage
from distill_api.wire import Report
from distill_server.models import folders, loading
from distill_trainer.errors import BadInput, TryAgain
from distill_trainer.preparing import lists
from safetensors.numpy import load_file
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer
from stage_jobs import STAGES, Job

Finished = Mapping[str, tuple[Job, Mapping[Stage, Report]]]

RECIPE = {"reranker": {"marginMse": {}, "listwiseKl": {}, "contrastive": {"weight": 0.1}}}
TRAINING = {"maxSteps": 6, "batchSize": 16, "checkpointSteps": 2}
CLASSES = {
    "BiEncoder": SentenceTransformer,
    "LateInteraction": MultiVectorEncoder,
    "CrossEncoder": CrossEncoder,
}


def a_job(root: Path, teacher: Path, architecture: str = "BiEncoder", **spec: object) -> Job:
    student = {"fromTeacher": {"keepLayers": [0]}, "architecture": architecture}
    given = {"student": student, "recipe": RECIPE, "training": TRAINING, **spec}
    job = Job(root, teacher, component="Reranker", **given)
    tiny_rankers.write_data(root / "data.jsonl")
    return job


@pytest.fixture(scope="module")
def ranking_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranker")
    tiny_rankers.teacher().save(str(folder))
    return folder


@pytest.fixture(scope="module")
def finished(ranking_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    made = {}
    for architecture in CLASSES:
        job = a_job(tmp_path_factory.mktemp(architecture), ranking_teacher, architecture)
        made[architecture] = (job, {stage: job.run(stage)[0] for stage in STAGES})
    return made


def test_labels_are_raw_logits_whatever_the_teacher_s_activation(
    finished: Finished, ranking_teacher: Path
):
    """T13: predict() of this teacher is a sigmoid, its labels are not."""
    job, reports = finished["BiEncoder"]
    folder = job.output(Stage.LABEL)
    table = pq.read_table(folder / "lists.parquet").to_pylist()
    texts = pq.read_table(folder / "texts.parquet")["text"].to_pylist()
    shards = [load_file(path)["embeddings"] for path in sorted((folder / "shards").iterdir())]
    found = np.concatenate(shards)[:, 0]
    oracle = CrossEncoder(str(ranking_teacher), device="cpu")
    asked = [(texts[row["query_id"]], texts[row["document_id"]]) for row in table[:50]]
    squashed = oracle.predict(asked)
    assert 0 < squashed.min() < squashed.max() < 1
    np.testing.assert_allclose(1 / (1 + np.exp(-found[:50])), squashed, atol=1e-5)
    settings = json.loads((folder / "label.json").read_text())
    assert settings["scores"]["squashed"] is False
    assert settings["scores"]["p100"] == pytest.approx(found.max(), abs=1e-4)
    assert reports[Stage.LABEL].facts["squashed"] == "false"


def test_every_query_has_its_answer_and_no_document_twice(finished: Finished):
    job, _ = finished["BiEncoder"]
    table = pq.read_table(job.output(Stage.LABEL) / "lists.parquet").to_pylist()
    by_query: dict[int, list[dict[str, object]]] = {}
    for row in table:
        by_query.setdefault(row["query_id"], []).append(row)
    assert len(by_query) == 120
    for rows in by_query.values():
        assert len(rows) == 16
        assert len({row["document_id"] for row in rows}) == 16
        assert [row["source"] for row in rows].count("known") == 1
        assert [row["source"] for row in rows].count("random") >= 4


def test_nothing_of_the_test_is_in_a_list_that_is_learnt_from(finished: Finished):
    job, _ = finished["BiEncoder"]
    folder = job.output(Stage.PREPARE)
    splits = pq.read_table(folder / "texts.parquet")["split"].to_pylist()
    records = pq.read_table(folder / "records.parquet").to_pylist()
    others, scores = np.load(folder / "negatives.npy"), np.load(folder / lists.SCORES)
    assert np.array_equal(others >= 0, np.isfinite(scores[:, 1:]))
    looked = 0
    for record, row, own in zip(records, others, scores, strict=True):
        assert own[0] == pytest.approx(record["teacher_score"])
        assert record["document_id"] not in row
        if record["split"] == "train":
            looked += 1
            assert {splits[one] for one in row[row >= 0]} <= {"train", None}
    assert looked > 50
    card = json.loads((folder / "data_card.json").read_text())
    assert card["score_scale"] == "raw"
    assert card["leakage"] == {"queries": 0, "documents": 0}


@pytest.mark.parametrize("architecture", CLASSES)
def test_a_student_is_trained_evaluated_and_loads(finished: Finished, architecture: str):
    job, reports = finished[architecture]
    student = CLASSES[architecture](str(job.output(Stage.TRAIN) / "student"), device="cpu")
    assert student is not None
    lines = (job.output(Stage.TRAIN) / "curves.jsonl").read_text().splitlines()
    points = [json.loads(line) for line in lines]
    assert [point["step"] for point in points] == list(range(7))
    for point in points[1:]:
        margins = point["margins"]
        assert margins["p10"] <= margins["p50"] <= margins["p90"]
    assert reports[Stage.TRAIN].facts["architecture"] == architecture
    status = reports[Stage.EVALUATE].evaluation
    assert status is not None
    scores = {score.measure: score for score in status.scores}
    assert {"nDCG@10", "AP", "RR"} <= scores.keys()
    assert 0 < float(scores["nDCG@10"].student) <= 1
    assert status.student_parameters < status.teacher_parameters
    assert float(status.student.items_per_second) > 0
    page = (job.output(Stage.EVALUATE) / "report.html").read_text()
    assert scores["nDCG@10"].student in page


@pytest.mark.parametrize("architecture", CLASSES)
def test_a_published_student_says_how_it_is_used(finished: Finished, architecture: str):
    job, _ = finished[architecture]
    job.spec["evaluation"] = {**job.spec["evaluation"], "onMissedGate": "Publish"}  # type: ignore[dict-item]
    (job.root / "volumes" / "models").mkdir(parents=True, exist_ok=True)
    job.run(Stage.EVALUATE)
    report, _ = job.run(Stage.PUBLISH)
    assert report.artifact is not None
    cards = list((job.root / "volumes" / "models").rglob("README.md"))
    assert len(cards) == 1
    card = cards[0].read_text()
    assert f"import {CLASSES[architecture].__name__}" in card
    assert "A reranker that was distilled" in card
    assert CLASSES[architecture](str(cards[0].parent), device="cpu") is not None


@pytest.mark.parametrize("architecture", ["BiEncoder", "CrossEncoder"])
def test_the_server_serves_the_student_with_the_same_scores(finished: Finished, architecture: str):
    job, _ = finished[architecture]
    folder = job.output(Stage.TRAIN) / "student"
    assert folders.is_reranker(folder) is (architecture == "CrossEncoder")
    served = loading.load(folder)
    if isinstance(served, CrossEncoder):
        found = served.predict([("a1 b2", "a1 c3"), ("a1 b2", "d4")])
        # Raw scores: a sigmoid would bring ties where the student is sure.
        assert served.activation_fn.__class__.__name__ == "Identity"
        assert np.isfinite(found).all()
    else:
        assert served.prompts["query"] == ""


@pytest.mark.parametrize("architecture", CLASSES)
def test_an_evicted_training_gives_the_same_weights(
    finished: Finished, ranking_teacher: Path, tmp_path: Path, architecture: str
):
    job = a_job(tmp_path, ranking_teacher, architecture)
    job.run(Stage.LABEL)
    job.run(Stage.PREPARE)
    with pytest.raises(TryAgain) as evicted:
        job.run(Stage.TRAIN, at=3)
    assert evicted.value.reason is Reason.EVICTED
    _, told = job.run(Stage.TRAIN)
    assert told.steps == [4, 5, 6]
    whole, resumed = weights(finished[architecture][0]), weights(job)
    assert whole.keys() == resumed.keys()
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)


def weights(job: Job) -> dict[str, np.ndarray]:
    files = sorted(job.output(Stage.TRAIN).rglob("*.safetensors"))
    assert files
    return {f"{f.name}.{f.parent.name}.{k}": w for f in files for k, w in load_file(f).items()}


def test_an_embedding_model_is_no_teacher(teacher_folder: Path, tmp_path: Path):
    job = a_job(tmp_path, teacher_folder)
    with pytest.raises(BadInput) as found:
        job.run(Stage.LABEL)
    assert found.value.reason is Reason.BAD_MODEL
    assert "made up at random" in found.value.sentence


def test_a_teacher_cannot_read_more_than_it_has_positions(ranking_teacher: Path, tmp_path: Path):
    job = a_job(tmp_path, ranking_teacher)
    job.spec["teacher"]["maxLength"] = 65
    with pytest.raises(BadInput, match="set it to at most 64") as found:
        job.run(Stage.LABEL)
    assert found.value.reason is Reason.BAD_RECIPE


def test_prompts_of_a_cross_encoder_student_are_refused(ranking_teacher: Path, tmp_path: Path):
    student = {
        "fromTeacher": {"keepLayers": [0]},
        "architecture": "CrossEncoder",
        "prompts": {"query": "q: "},
    }
    job = a_job(tmp_path, ranking_teacher, student=student)
    job.run(Stage.LABEL)
    job.run(Stage.PREPARE)
    with pytest.raises(BadInput, match=r"student\.prompts"):
        job.run(Stage.TRAIN)


def test_a_recipe_that_cannot_work_is_refused_before_training(
    ranking_teacher: Path, tmp_path: Path
):
    job = a_job(tmp_path, ranking_teacher, training=TRAINING | {"batchSize": 256})
    job.run(Stage.LABEL)
    with pytest.raises(BadInput, match=r"lower batchSize to at most") as found:
        job.run(Stage.PREPARE)
    assert found.value.reason is Reason.BAD_RECIPE


def test_unsure_records_are_dropped_by_their_share_of_the_list(
    ranking_teacher: Path, tmp_path: Path
):
    data = {"filter": {"minTeacherConfidence": 0.01}}
    job = a_job(tmp_path, ranking_teacher)
    job.spec["data"] = {**job.spec["data"], **data}  # type: ignore[dict-item]
    job.run(Stage.LABEL)
    report, _ = job.run(Stage.PREPARE)
    assert 0 < int(report.facts["unsure"]) < 100


def test_a_sweep_keeps_the_reranker_that_validates_best(ranking_teacher: Path, tmp_path: Path):
    parameters = [{"path": "recipe.reranker.listwiseKl.temperature", "values": ["1", "4"]}]
    sweep = {"algorithm": "Grid", "parameters": parameters}
    job = a_job(tmp_path, ranking_teacher, sweep=sweep)
    reports = {stage: job.run(stage)[0] for stage in STAGES}
    found = reports[Stage.TRAIN].sweep
    assert found is not None
    assert (found.trials, found.failed, found.measure) == (2, 0, "nDCG@10")
    assert reports[Stage.EVALUATE].evaluation is not None
    page = (job.output(Stage.EVALUATE) / "report.html").read_text()
    assert "2 students were trained" in page
