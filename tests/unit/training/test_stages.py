"""The train and evaluate stages, after real label and prepare stages, on a tiny teacher."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from distill_api.names import Reason, Stage
from distill_api.wire import Report
from distill_trainer.errors import TryAgain
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer
from stage_jobs import STAGES, Job

Finished = tuple[Job, Mapping[Stage, Report]]


@pytest.fixture(scope="module")
def finished(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    job = Job(tmp_path_factory.mktemp("job"), teacher_folder)
    return job, {stage: job.run(stage)[0] for stage in STAGES}


def test_training_leaves_a_student_a_curve_and_its_lineage(finished: Finished):
    job, reports = finished
    report, output = reports[Stage.TRAIN], job.output(Stage.TRAIN)
    student = SentenceTransformer(str(output / "student"))
    assert student.encode(["a1 b2"]).shape == (1, 12)
    assert report.facts["steps"] == "8"
    assert report.facts["checkpointSteps"] == "3"
    assert int(report.facts["checkpoints"]) >= 3
    assert "8 of 8 steps" in report.summary
    assert report.lineage is not None
    assert report.lineage.teacher.startswith("sha256:")
    points = [json.loads(line) for line in (output / "curves.jsonl").read_text().splitlines()]
    assert [point["step"] for point in points] == list(range(9))
    assert {"mse", "mse@6"} <= points[1]["parts"].keys()
    names = {path.name for path in output.iterdir()}
    assert names == {"student", "curves.jsonl", "projections.safetensors", "manifest.json"}


def test_evaluation_tells_quality_speed_and_verdict(finished: Finished):
    job, reports = finished
    status = reports[Stage.EVALUATE].evaluation
    assert status is not None
    by_name = {score.measure: score for score in status.scores}
    assert set(by_name) == {"R@1", "R@10", "nDCG@10", "AP", "RR"}
    assert 0 < float(by_name["nDCG@10"].student) <= 1
    assert float(status.student.items_per_second) > 0
    assert 0 < status.student_parameters < status.teacher_parameters
    assert status.verdict in {"Passed", "Missed"}
    assert "nDCG@10" in status.explanation
    output = job.output(Stage.EVALUATE)
    told = json.loads((output / "evaluation.json").read_text())
    assert told["evaluation"]["speedup"] == status.speedup
    assert len(told["perQuery"]["student"]["nDCG@10"]) == status.queries
    assert set(told["widths"]) == {"12", "6"}
    page = (output / "report.html").read_text()
    assert "team/tiny" in page
    assert by_name["nDCG@10"].student in page
    assert "Cut embeddings" in page


def test_the_teacher_s_scores_are_those_of_its_labels(finished: Finished):
    job, _ = finished
    told = json.loads((job.output(Stage.EVALUATE) / "evaluation.json").read_text())
    texts = job.output(Stage.PREPARE)
    assert (texts / "embeddings.npy").exists()
    teacher = np.mean(told["perQuery"]["teacher"]["nDCG@10"])
    scores = {score["measure"]: score for score in told["evaluation"]["scores"]}
    assert float(scores["nDCG@10"]["teacher"]) == pytest.approx(teacher, abs=1e-4)


def test_a_complete_stage_is_not_run_again(finished: Finished):
    job, reports = finished
    for stage in (Stage.TRAIN, Stage.EVALUATE):
        before = sorted(job.output(stage).rglob("*"))
        again, told = job.run(stage)
        assert again.reused
        assert again.summary == reports[stage].summary
        assert again.facts == reports[stage].facts
        assert told.steps == []
        assert sorted(job.output(stage).rglob("*")) == before


def test_an_evicted_training_goes_on_and_gives_the_same_weights(
    finished: Finished, teacher_folder: Path, tmp_path: Path
):
    job = Job(tmp_path, teacher_folder)
    job.run(Stage.LABEL)
    job.run(Stage.PREPARE)
    with pytest.raises(TryAgain) as evicted:
        job.run(Stage.TRAIN, at=4)
    assert evicted.value.reason is Reason.EVICTED
    report, told = job.run(Stage.TRAIN)
    assert told.steps == [5, 6, 7, 8]
    assert not report.reused
    whole, resumed = finished[0].weights(), job.weights()
    assert whole.keys() == resumed.keys()
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)


def test_a_student_from_a_folder_keeps_its_architecture(
    finished: Finished, teacher_folder: Path, tmp_path: Path
):
    own = finished[0].output(Stage.TRAIN) / "student"
    job = Job(tmp_path, teacher_folder, student={"model": {"uri": f"file://{own}"}})
    for stage in (Stage.LABEL, Stage.PREPARE, Stage.TRAIN):
        job.run(stage)
    trained = SentenceTransformer(str(job.output(Stage.TRAIN) / "student"))
    assert trained[0].auto_model.config.hidden_size == 16
    assert trained.get_embedding_dimension() == 12


@pytest.mark.parametrize(
    "quantized", [pytest.param(False, id="lora"), pytest.param(True, id="qlora")]
)
def test_adapters_are_trained_merged_and_kept_and_an_eviction_changes_nothing(
    teacher_folder: Path, tmp_path: Path, *, quantized: bool
):
    lora = {"rank": 4, "dropout": 0.1, "quantizedBase": quantized}
    training = {"maxSteps": 6, "batchSize": 16, "checkpointSteps": 3, "lora": lora}
    jobs = [
        Job(tmp_path / name, teacher_folder, training=training) for name in ("whole", "evicted")
    ]
    for job in jobs:
        for stage in (Stage.LABEL, Stage.PREPARE):
            job.run(stage)
    report, _ = jobs[0].run(Stage.TRAIN)
    with pytest.raises(TryAgain):
        jobs[1].run(Stage.TRAIN, at=4)
    jobs[1].run(Stage.TRAIN)
    whole, resumed = (job.weights() for job in jobs)
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)
    assert all(weights.dtype == np.float32 for weights in whole.values())
    bases = {"original", "dequantized"} if quantized else {"original"}
    assert report.facts["mergedInto"] in bases
    assert {f"{base}BaseValidation" for base in bases} <= report.facts.keys()
    assert "adapters of" in report.summary
    output = jobs[0].output(Stage.TRAIN)
    kept = load_file(output / "adapter" / "adapter_model.safetensors")
    assert sum(weights.size for weights in kept.values()) > 0
    assert SentenceTransformer(str(output / "student")).encode(["a1 b2"]).shape == (1, 12)
