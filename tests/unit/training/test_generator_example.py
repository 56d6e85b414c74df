"""The generator's example, shortened, from its labels to what is published."""

import json
import sys
from pathlib import Path

import pytest
import tiny_causal
from distill_api.job import DistillationJobSpec
from distill_api.names import Stage
from distill_trainer.students import causal
from trainer import write_jsonl

from examples import stages
from examples.generator import demo, rollout


def test_questions_are_about_documented_functions(tmp_path: Path):
    demo.write_questions(tmp_path / "q.jsonl", 50)
    rows = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text().splitlines()]
    assert len(rows) == 50
    assert all(40 < len(row["context"]) <= demo.LONGEST for row in rows)
    assert len({row["group"] for row in rows}) == 50


def test_questions_of_the_rollout_are_others_and_have_answers(tmp_path: Path):
    demo.write_questions(tmp_path / "questions.jsonl", 120)
    asked = {
        json.loads(line)["query"]
        for line in (tmp_path / "questions.jsonl").read_text().splitlines()
    }
    kept = rollout.held_out(tmp_path)
    assert len(kept) == rollout.HELD_OUT
    assert not asked & {row["query"] for row in kept}
    assert all(row["context"].startswith(row["answer"]) for row in kept)


def test_too_few_questions_are_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["demo", str(tmp_path / "new"), "--questions", "30"])
    with pytest.raises(SystemExit, match="2"):
        demo.main()
    assert "30: expected 100 or more" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_teacher_is_written_whole_or_not_at_all_and_below_folders_that_are_not_there_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(folder: Path) -> None:
        folder.mkdir()
        (folder / "half.safetensors").touch()
        raise KeyboardInterrupt

    folder = tmp_path / "new" / "work" / "teacher"
    monkeypatch.setattr(demo, "_convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        demo.write_teacher(folder)
    assert list(folder.parent.iterdir()) == []
    monkeypatch.setattr(demo, "_convert", Path.mkdir)
    demo.write_teacher(folder)
    assert list(folder.parent.iterdir()) == [folder]


def test_the_example_runs_with_a_tiny_teacher(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    teacher = tiny_causal.taught(tiny_causal.model(), 90)
    causal.save(teacher, tmp_path / "teacher")
    write_jsonl(tmp_path / "questions.jsonl", tiny_causal.rows(90))
    job = demo.job(tmp_path)
    wanted = job["spec"]
    DistillationJobSpec.model_validate(wanted)
    wanted["student"]["fromTeacher"]["keepLayers"] = [0, 3]
    wanted["training"] |= {"epochs": 1, "checkpointSteps": 4}
    wanted["quantize"] |= {"groupSize": 16, "calibrationRecords": 8, "maxLoss": 1}
    wanted["evaluation"] = {"latencyRequests": 10, "throughputBatchSize": 4, "gates": []}
    reports = stages.run(job, tmp_path, threads=1)
    assert reports[Stage.PUBLISH].artifact is not None
    measures = {score.measure for score in reports[Stage.EVALUATE].evaluation.scores}
    assert "Likelihood" in measures
    demo.conclude(tmp_path, reports)
    told = capsys.readouterr().out
    assert "tokens per second" in told
    assert "GPTQ" in told
    assert Path(told.rpartition("Report:")[2].strip()).is_file()
    written = json.loads((demo.published(tmp_path) / "config.json").read_text())
    assert written["quantization_config"]["quant_method"] == "compressed-tensors"
