"""Each example of a query transform, shortened, through all stages; and what is refused."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_transforms as tiny
import torch
import yaml
from distill_api.job import DistillationJobSpec
from distill_api.names import Reason, Stage
from distill_api.wire import Report
from distill_trainer.errors import BadInput, TryAgain
from distill_trainer.texts import querying
from distill_trainer.texts.querying import Query
from generating_jobs import STAGES, Job
from http_faults import Answer, Call, serving
from safetensors.numpy import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "query-transform"
QUERIES = 90


def shortened(name: str, teacher: Path, student: dict[str, Any], data: Path) -> dict[str, Any]:
    """Return an example with a tiny teacher, student and data, and few steps."""
    spec: dict[str, Any] = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())["spec"]
    DistillationJobSpec.model_validate(spec)
    spec["teacher"] = {
        "model": {"uri": f"file://{teacher}"},
        "batchSize": 32,
        "sampling": spec["teacher"]["sampling"] | {"maxTokens": 16},
    }
    spec["student"] |= student
    spec["data"] = {"source": {"uri": f"file://{data}"}}
    spec["training"] |= {"maxSteps": 60, "checkpointSteps": 30, "batchSize": 16}
    spec["training"].pop("epochs")
    spec["training"]["optimizer"] = {"learningRate": 5e-3}
    if "expansions" in spec["recipe"]["queryTransform"]:
        spec["recipe"]["queryTransform"]["expansions"] = 2
    spec["evaluation"] |= {"latencyRequests": 10, "throughputBatchSize": 32}
    spec["evaluation"] |= {"bootstrapSamples": 200, "gates": []}
    return spec


def a_job(root: Path, spec: dict[str, Any]) -> Job:
    made = Job(root)
    made.spec = spec
    return made


Finished = tuple[Job, Mapping[Stage, Report]]


def _finished(root: Path, spec: dict[str, Any]) -> Finished:
    job = a_job(root, spec)
    return job, {stage: job.run(stage) for stage in STAGES}


@pytest.fixture(scope="module")
def causal_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a teacher of both tasks."""
    lessons = (tiny.expansions(QUERIES), tiny.EXPAND), (tiny.rewrites(QUERIES), tiny.REWRITE)
    teacher = tiny.taught_causal(tiny.decoder(2), *lessons)
    return tiny.save(teacher, tmp_path_factory.mktemp("causal"))


@pytest.fixture(scope="module")
def expanding(causal_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    root, rows = tmp_path_factory.mktemp("expanding"), tiny.expansions(QUERIES)
    tiny.write_data(root / "data.jsonl", rows)
    student = {"fromTeacher": {"keepLayers": [0]}}
    spec = shortened("expansion", causal_teacher, student, root / "data.jsonl")
    return _finished(root / "job", spec)


@pytest.fixture(scope="module")
def by_t5(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    root, rows = tmp_path_factory.mktemp("t5"), tiny.expansions(QUERIES)
    tiny.write_data(root / "data.jsonl", rows)
    teacher = tiny.taught_seq2seq(tiny.encoder_decoder(2), rows, tiny.instructed)
    folder = tiny.save(teacher, root / "teacher")
    student = {"fromTeacher": {"keepLayers": [1]}}
    spec = shortened("seq2seq", folder, student, root / "data.jsonl")
    spec["training"]["precision"] = "Float32"
    return _finished(root / "job", spec)


def _facts(reports: Mapping[Stage, Report]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in reports[Stage.EVALUATE].facts.items()
        if name.startswith(("recall", "unreadable", "transforms", "distinctness"))
    }


@pytest.mark.parametrize("which", ["expanding", "by_t5"])
def test_expansions_lift_the_recall(which: str, request: pytest.FixtureRequest):
    _, reports = request.getfixturevalue(which)
    evaluation = reports[Stage.EVALUATE].evaluation
    assert evaluation is not None
    facts = _facts(reports)
    assert facts["recallLiftTeacher"] > 0.2
    assert facts["recallLiftStudent"] == pytest.approx(
        facts["recallStudent"] - facts["recallAlone"], abs=2e-4
    )
    scores = {score.measure: score for score in evaluation.scores}
    assert scores.keys() == {"RecallLift", "R@10"}
    kept = float(scores["RecallLift"].retention)
    assert kept == pytest.approx(facts["recallLiftStudent"] / facts["recallLiftTeacher"], abs=2e-3)
    assert float(scores["RecallLift"].retention_low) <= kept
    assert 0 <= facts["unreadableStudent"] < 1
    assert facts["distinctnessTeacher"] > 0
    assert evaluation.queries >= 5
    assert evaluation.documents > evaluation.queries
    assert evaluation.student_parameters < evaluation.teacher_parameters


def test_only_lists_that_were_kept_as_written_bring_their_distributions(expanding: Finished):
    job, reports = expanding
    records = pq.read_table(job.output(Stage.PREPARE) / "records.parquet").to_pylist()
    card = json.loads((job.output(Stage.PREPARE) / "data_card.json").read_text())
    settings = json.loads((job.output(Stage.LABEL) / "label.json").read_text())
    assert card["cached"] == sum(bool(row["top_ids"]) for row in records) > 0
    assert len(records) + sum(
        count for reason, count in card["dropped"].items() if reason != "without text"
    ) == settings["answers"]  # fmt: skip
    assert card["expansions"]["kept"] >= 2 * len(records)
    for row in records:
        assert len(row["answer"].split(querying.SEPARATOR)) == 2
        assert bool(row["top_ids"]) == bool(row["token_ids"])
    assert reports[Stage.LABEL].usage.teacher_tokens == settings["tokens"] > 0


def test_every_query_is_judged_whatever_the_teacher_wrote(expanding: Finished):
    job, reports = expanding
    table = pq.read_table(job.output(Stage.PREPARE) / "searches.parquet").to_pylist()
    test = [row for row in table if row["split"] == "test"]
    evaluation = reports[Stage.EVALUATE].evaluation
    assert evaluation is not None
    assert evaluation.queries == len(test)
    told = json.loads((job.output(Stage.EVALUATE) / "evaluation.json").read_text())
    assert {len(values) for values in told["perQuery"].values()} == {len(test)}
    page = (job.output(Stage.EVALUATE) / "report.html").read_text()
    assert "of the recall that the teacher adds" in page
    assert "Queries/s" in page


def test_a_published_t5_writes_expansions_by_itself(by_t5: Finished):
    job, reports = by_t5
    folder = next(path.parent for path in (job.root / "volumes/models").rglob("config.json"))
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    teaching = json.loads((folder / "teaching.json").read_text())
    ids = tokenizer(teaching["prefix"] + "a1 d2", return_tensors="pt").input_ids
    written = model.generate(ids)
    assert written.shape[1] > 2
    assert -100 not in written
    card = (folder / "README.md").read_text()
    assert "AutoModelForSeq2SeqLM" in card
    assert teaching["prefix"].strip() in card
    assert reports[Stage.TRAIN].facts["architecture"] == "Seq2Seq"


def test_a_killed_training_of_a_t5_goes_on_to_equal_bits(by_t5: Finished, tmp_path: Path):
    whole, _ = by_t5
    job = a_job(tmp_path / "job", whole.spec)
    (tmp_path / "job").mkdir(exist_ok=True)
    for stage in (Stage.LABEL, Stage.PREPARE):
        job.run(stage)
    with pytest.raises(TryAgain, match="step 31 of 60"):
        job.run(Stage.TRAIN, "train", at=31)
    job.run(Stage.TRAIN)
    expected, found = (
        load_file(one.output(Stage.TRAIN) / "student/model.safetensors") for one in (whole, job)
    )
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)


def test_rewrites_replace_the_query(causal_teacher: Path, tmp_path: Path):
    rows = tiny.rewrites(QUERIES)
    tiny.write_data(tmp_path / "data.jsonl", rows)
    student = {"model": {"uri": f"file://{causal_teacher}"}}
    spec = shortened("rewrite", causal_teacher, student, tmp_path / "data.jsonl")
    spec["training"]["maxSteps"] = 4
    job, reports = _finished(tmp_path / "job", spec)
    facts = _facts(reports)
    assert facts["recallLiftTeacher"] > 0.1
    assert facts["transformsTeacher"] <= 1
    row = pq.read_table(job.output(Stage.PREPARE) / "records.parquet").to_pylist()[0]
    assert row["turns"]
    assert querying.SEPARATOR not in row["answer"]


def test_rewriting_without_turns_is_refused_before_the_teacher_works(tmp_path: Path):
    rows = [(Query(query.text), kept, text) for query, kept, text in tiny.rewrites(QUERIES)]
    tiny.write_data(tmp_path / "data.jsonl", rows)
    nowhere = tmp_path / "nowhere"
    spec = shortened("rewrite", nowhere, {}, tmp_path / "data.jsonl")
    with pytest.raises(BadInput, match="use task Expansion") as refused:
        a_job(tmp_path / "job", spec).run(Stage.LABEL)
    assert refused.value.reason is Reason.BAD_DATA


def test_a_t5_is_not_cut_out_of_a_decoder(expanding: Finished, tmp_path: Path):
    whole, _ = expanding
    spec = whole.spec | {"student": whole.spec["student"] | {"architecture": "Seq2Seq"}}
    job = a_job(tmp_path / "job", spec)
    for stage in (Stage.LABEL, Stage.PREPARE):
        job.run(stage)
    with pytest.raises(BadInput, match="needs an encoder-decoder as teacher"):
        job.run(Stage.TRAIN)


def test_a_t5_learns_a_decoder_s_text_or_its_cache_where_both_share_tokens(
    expanding: Finished, tmp_path: Path
):
    whole, _ = expanding
    folder = tiny.save(tiny.encoder_decoder(1), tmp_path / "t5")
    student = {"architecture": "Seq2Seq", "model": {"uri": f"file://{folder}"}}
    training = whole.spec["training"] | {"maxSteps": 2, "checkpointSteps": 2}
    training.pop("freezeEmbeddings", None)
    job = a_job(tmp_path / "job", whole.spec | {"student": student, "training": training})
    for stage in (Stage.LABEL, Stage.PREPARE, Stage.TRAIN):
        report = job.run(stage)
    points = (job.output(Stage.TRAIN) / "curves.jsonl").read_text().splitlines()
    assert {"hard", "divergence", "logits"} <= json.loads(points[1])["parts"].keys()
    assert report.facts["steps"] == "2"
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("which", ["expanding", "by_t5"])
def test_adapters_are_trained_over_four_bits_and_merged_in_full(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
):
    finished, _ = request.getfixturevalue(which)
    training = finished.spec["training"] | {"maxSteps": 3, "checkpointSteps": 3}
    training["lora"] = {"rank": 4, "quantizedBase": True}
    job = a_job(tmp_path, {**finished.spec, "training": training})
    shutil.copytree(finished.root / "workspace", tmp_path / "workspace")
    facts = job.run(Stage.TRAIN).facts
    assert facts["mergedInto"] in {"original", "dequantized"}
    assert {"originalBaseValidation", "dequantizedBaseValidation"} <= facts.keys()
    weights = load_file(job.output(Stage.TRAIN) / "student" / "model.safetensors")
    assert all(value.dtype == np.float32 for value in weights.values())
    assert not any("lora" in name or "base_layer" in name for name in weights)


def _served(call: Call) -> Answer:
    """Answer as a server that numbers its lists, and is sometimes cut."""
    asked = json.loads(call.body)["messages"][-1]["content"]
    one, other = asked.partition("for: a")[2].split()[:2]
    text = f"1. a{one} {other}\n2. b{one} e{other[1:]}\n3. c{one} e{other[1:]}"
    choice = {"message": {"content": text}, "finish_reason": "length" if one == "7" else "stop"}
    usage = {"prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 17}
    return Answer(200, json.dumps({"choices": [choice], "usage": usage}).encode())


def test_a_served_teacher_s_lists_are_read_and_its_tokens_counted(tmp_path: Path):
    tiny.write_data(tmp_path / "data.jsonl", tiny.expansions(QUERIES))
    student = tiny.save(tiny.encoder_decoder(1), tmp_path / "t5")
    spec = shortened(
        "seq2seq", tmp_path, {"model": {"uri": f"file://{student}"}}, tmp_path / "data.jsonl"
    )
    spec["student"].pop("fromTeacher")
    spec["recipe"]["queryTransform"] = {"outputs": {}, "expansions": 2}
    spec["training"] |= {"maxSteps": 2}
    with serving(_served) as server:
        endpoint = {"url": f"{server.url}/v1", "model": "m"}
        spec["teacher"] = {"endpoint": endpoint, "sampling": {"temperature": 0, "maxTokens": 16}}
        job = a_job(tmp_path / "job", spec)
        reports = {stage: job.run(stage) for stage in STAGES[:-1]}
    card = json.loads((job.output(Stage.PREPARE) / "data_card.json").read_text())
    assert card["dropped"]["truncated at maxTokens"] == QUERIES // 10
    assert card["expansions"]["dropped"] == {"the query itself": QUERIES - QUERIES // 10}
    facts = _facts(reports)
    assert facts["recallLiftTeacher"] > 0.5
    assert facts["transformsTeacher"] == pytest.approx(
        2 * (1 - facts["unreadableTeacher"]), abs=0.01
    )
    assert reports[Stage.LABEL].usage.teacher_tokens == 17 * QUERIES
    assert reports[Stage.EVALUATE].usage.teacher_tokens > 17 * 10
