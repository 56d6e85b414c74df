"""The generator's example, shortened, from its labels to what is published."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import tiny_causal
from distill_api.job import DistillationJobSpec
from distill_api.names import Stage
from distill_trainer.students import causal
from trainer import write_jsonl

DEMO = Path(__file__).resolve().parents[3] / "examples/generator/demo.py"


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    found = importlib.util.spec_from_file_location("generator_demo", DEMO)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_questions_are_about_documented_functions(demo: ModuleType, tmp_path: Path):
    demo.write_questions(tmp_path / "q.jsonl", 50)
    rows = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text().splitlines()]
    assert len(rows) == 50
    assert all(40 < len(row["context"]) <= demo.LONGEST for row in rows)
    assert len({row["group"] for row in rows}) == 50


def test_the_example_runs_with_a_tiny_teacher(demo: ModuleType, tmp_path: Path):
    teacher = tiny_causal.taught(tiny_causal.model(), 90)
    causal.save(teacher, tmp_path / "teacher")
    write_jsonl(tmp_path / "questions.jsonl", tiny_causal.rows(90))
    wanted = demo.spec(tmp_path, tmp_path / "teacher")
    DistillationJobSpec.model_validate(wanted)
    wanted["student"]["fromTeacher"]["keepLayers"] = [0, 3]
    wanted["training"] |= {"epochs": 1, "checkpointSteps": 4}
    wanted["evaluation"] = {"latencyRequests": 10, "throughputBatchSize": 4, "gates": []}
    reports = demo.run(tmp_path, wanted, threads=1)
    assert reports[Stage.PUBLISH].artifact is not None
    measures = {score.measure for score in reports[Stage.EVALUATE].evaluation.scores}
    assert "Likelihood" in measures
