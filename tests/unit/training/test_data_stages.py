"""Balance, production's sample and the data card, from the data to the published page."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distill_api.names import Stage
from distill_trainer.components.generator import prepare as generator
from distill_trainer.labelling import asking
from distill_trainer.publishing import data_card
from stage_jobs import STAGES, Job, generating_job, ranking_job
from trainer import a_task, write_jsonl


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, teacher_folder: Path) -> Job:
    """Run a job whose training is balanced and compared with traffic that asks the same."""
    root = tmp_path_factory.mktemp("data-stages")
    made = Job(root / "job", teacher_folder)
    data = root / "job" / "data.jsonl"
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    sample = write_jsonl(root / "sample.jsonl", [row for row in rows if row.get("query")])
    made.spec["data"] = {
        "source": {"uri": f"file://{data}"},
        "balanceByDifficulty": True,
        "productionSample": {"uri": f"file://{sample}"},
    }
    for stage in STAGES:
        made.run(stage)
    return made


def test_copies_are_written_for_training_only(job: Job):
    prepared = job.output(Stage.PREPARE)
    card = json.loads((prepared / "data_card.json").read_text())
    written = pq.read_table(prepared / "records.parquet")["split"].to_pylist()
    parts = card["balance"]["parts"].values()
    assert written.count("train") == sum(part["drawn"] for part in parts)
    assert card["records"]["train"] == sum(part["records"] for part in parts)
    assert written.count("train") > card["records"]["train"]
    for split in ("validation", "test"):
        assert written.count(split) == card["records"][split]


def test_the_card_says_how_far_production_is(job: Job):
    prepared = job.output(Stage.PREPARE)
    found = json.loads((prepared / "data_card.json").read_text())["production"]
    assert found["verdict"] in {"matches", "undecided"}
    assert 0.3 < found["classifier"]["auc"] < 0.7
    report, _ = job.run(Stage.PREPARE)
    assert report.facts["productionVerdict"] == found["verdict"]


def test_the_page_and_the_card_tell_both(job: Job, tmp_path: Path):
    page = (job.output(Stage.EVALUATE) / "report.html").read_text()
    assert "Production traffic" in page
    assert "Drawn in an epoch" in page
    assert page.count("<svg ") >= 7
    data = json.loads((job.output(Stage.PREPARE) / "data_card.json").read_text())
    text = data_card.render(a_task(tmp_path), data)
    assert data["production"]["sentence"] in text
    assert f"| easy | {data['balance']['parts']['easy']['records']} |" in text
    assert "| split | records | groups |\n|---|---|---|\n| train |" in text


@pytest.mark.parametrize("make", [ranking_job, generating_job])
def test_other_components_are_balanced_compared_and_described_alike(
    make: Callable[[Path], Job], tmp_path: Path
):
    job = make(tmp_path)
    sample = write_jsonl(tmp_path / "sample.jsonl", [{"query": f"a{n} b{n} ?"} for n in range(60)])
    job.spec["data"] = {
        **job.spec["data"],
        "balanceByDifficulty": True,
        "productionSample": {"uri": f"file://{sample}"},
        "filter": {"minTeacherConfidence": 0.0001, "outlierDeviations": 6},
    }
    job.run(Stage.LABEL)
    report, _ = job.run(Stage.PREPARE)
    prepared = job.output(Stage.PREPARE)
    card = json.loads((prepared / "data_card.json").read_text())
    written = pq.read_table(prepared / "records.parquet")["split"].to_pylist()
    parts = card["balance"]["parts"].values()
    assert written.count("train") == sum(part["drawn"] for part in parts)
    assert sum(part["records"] for part in parts) == card["records"]["train"]
    assert written.count("train") > card["records"]["train"]
    assert written.count("test") == card["records"]["test"]
    assert card["close_queries"]["by"] == "their letters"
    assert card["near_duplicates"] >= 0
    assert report.facts["productionVerdict"] == card["production"]["verdict"] == "differs"
    text = data_card.render(a_task(tmp_path), card)
    assert f"parted by {card['balance']['by']}" in text
    assert card["production"]["sentence"] in text
    assert ("## The teacher's answers" in text) is (job.spec["component"] == "Generator")


def test_how_likely_a_teacher_finds_its_answer_is_read_from_its_cached_probabilities():
    rows = [
        {"token_ids": [7, 9], "top_ids": [7, 3, 4, 5], "top_logprobs": [-0.5, -1, -0.1, -3.0],
         "tail": [-4.0, -2.5]},
        {"token_ids": None, "top_ids": None, "top_logprobs": None, "tail": None},
    ]  # fmt: skip
    names = ("token_ids", "top_ids", "top_logprobs", "tail")
    schema = pa.schema([field for field in asking.ANSWER_SCHEMA if field.name in names])
    found = generator.likelihoods(pa.Table.from_pylist(rows, schema))
    # The first token is the likeliest one; the second is not among the two: the mass of the others.
    assert found[0] == pytest.approx((-0.5 - 2.5) / 2)
    assert np.isnan(found[1])
