"""The reranker examples: their teacher, and one of their jobs from its labels to what it leaves."""

from pathlib import Path

import pytest
import tiny_rankers
from distill_api.data import Splits
from distill_api.job import DistillationJobSpec
from distill_api.names import Stage
from distill_server.models import folders
from distill_trainer.preparing import splits

from examples import stages
from examples.embedding import corpus
from examples.reranker import demo, teacher


def test_the_examples_teacher_sees_nothing_that_its_student_is_judged_on() -> None:
    rows = [
        corpus.Row(document=f"document {number}", group=f"g{number}", query=f"query {number}")
        for number in range(200)
    ]
    seen = teacher.training_records(rows)
    by_query = {row.query: splits.assign(f"group:{row.group}", Splits()) for row in rows}
    assert {by_query[query] for query in seen.queries} == {"train"}
    assert len(seen.queries) == list(by_query.values()).count("train") > 100


def test_the_example_runs_with_a_tiny_teacher(tmp_path: Path) -> None:
    tiny_rankers.teacher().save(str(tmp_path / "teacher"))
    tiny_rankers.write_data(tmp_path / "data.jsonl")
    job = demo.job("cross-encoder", tmp_path, records=120)
    DistillationJobSpec.model_validate(job["spec"])
    job["spec"]["student"]["fromTeacher"]["keepLayers"] = [0]
    job["spec"]["teacher"]["maxLength"] = tiny_rankers.LENGTH
    job["spec"]["training"] |= {"epochs": 1, "checkpointSteps": 4}
    job["spec"]["evaluation"] |= {"latencyRequests": 10, "bootstrapSamples": 100}
    reports = stages.run(job, tmp_path, threads=1)
    assert list(reports) == [
        *(Stage.LABEL, Stage.PREPARE, Stage.TRAIN, Stage.EVALUATE, Stage.PUBLISH)
    ]
    evaluation = reports[Stage.EVALUATE].evaluation
    assert evaluation is not None
    assert {score.measure for score in evaluation.scores} == {"nDCG@10", "RR@10", "AP"}
    student = stages.published(tmp_path) / job["spec"]["publish"][0]["pvc"]["path"]
    assert folders.is_reranker(next(student.rglob("config.json")).parent)


def test_an_interrupted_making_of_the_teacher_leaves_no_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(teacher, "teach", interrupted)
    monkeypatch.setattr(teacher, "untaught", lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        teacher.make(tmp_path / "teacher", steps=1)
    assert list(tmp_path.iterdir()) == []
