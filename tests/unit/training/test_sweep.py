"""Sweeps: several students by real stages, ranked, pruned, interrupted; and what they may vary."""

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from distill_api.job import DistillationJobSpec
from distill_api.names import Stage
from distill_api.training import Sweep
from distill_trainer.errors import BadInput, TryAgain
from distill_trainer.report import sweep_section
from distill_trainer.sweeping import run, space, study
from distill_trainer.training import loop
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from stage_jobs import Job
from trainer import SPEC

TRAINING = {"maxSteps": 4, "batchSize": 16, "checkpointSteps": 2}
GRID = {
    "algorithm": "Grid",
    "parameters": [
        {"path": "recipe.embedding.mse.weight", "values": ["10", "0.001"]},
        {"path": "training.optimizer.learningRate", "values": ["1e-9", "0.01"]},
    ],
    "prune": False,
}


def spec(**sweep: Any) -> DistillationJobSpec:
    return DistillationJobSpec.model_validate(SPEC | {"sweep": sweep})


def one(path: str, **more: Any) -> DistillationJobSpec:
    return spec(parameters=[{"path": path, **more}])


@pytest.fixture(scope="module")
def swept(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    job = Job(tmp_path_factory.mktemp("sweep"), teacher_folder, training=TRAINING, sweep=GRID)
    for stage in (Stage.LABEL, Stage.PREPARE):
        job.run(stage)
    # Ended by eviction in the second trial: nothing is lost or done twice.
    with pytest.raises(TryAgain):
        job.run(Stage.TRAIN, at=1.5)
    job.run(Stage.TRAIN)
    return job


def anyone(_: int) -> bool:
    """Let this pod have every trial: it is alone."""
    return True


def table(job: Job) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((job.output(Stage.TRAIN) / sweep_section.FILE).read_text())
    return content


def test_a_grid_tries_every_combination_once_and_keeps_the_best(swept: Job) -> None:
    told = table(swept)
    tried = {tuple(sorted(trial["parameters"].items())) for trial in told["trials"]}
    assert len(told["trials"]) == len(tried) == 4
    assert all(trial["state"] == "Complete" for trial in told["trials"])
    scores = {trial["number"]: trial["score"] for trial in told["trials"]}
    assert scores[told["best"]] == max(scores.values())
    rate = told["spec"]["training"]["optimizer"]["learningRate"]
    # A student that hardly moves is not the best of these.
    assert rate == 0.01
    assert "sweep" not in told["spec"]


def test_the_best_student_is_the_output_and_is_judged_by_its_own_spec(swept: Job) -> None:
    again, _ = swept.run(Stage.TRAIN)
    assert again.reused
    assert again.sweep is not None
    assert (again.sweep.trials, again.sweep.failed, again.sweep.pruned) == (4, 0, 0)
    assert again.sweep.leaders[0].number == again.sweep.best
    assert again.sweep.measure == "nDCG@10"
    assert again.summary.startswith(f"Trial {again.sweep.best} of 4 (0 pruned, 0 failed) with")
    output = swept.output(Stage.TRAIN)
    assert {"student", "curves.jsonl", sweep_section.FILE} <= {
        path.name for path in output.iterdir()
    }
    assert not (output / run.TRIALS).exists()
    report, _ = swept.run(Stage.EVALUATE)
    assert report.evaluation is not None
    page = (swept.output(Stage.EVALUATE) / "report.html").read_text()
    assert "learningRate: 0.01" in page
    assert "4 students were trained" in page
    assert page.count("(best)") == 1


def test_every_number_of_trials_gives_the_same_first_ones(tmp_path: Path) -> None:
    """A restart in between changes nothing that is drawn."""
    ranges = [
        {"path": "training.optimizer.learningRate", "min": 1e-5, "max": 1e-2, "logScale": True},
        {"path": "training.seed", "min": 1, "max": 1000},
    ]
    wanted = Sweep.model_validate({"parameters": ranges, "maxTrials": 7})
    drawn = space.distributions(spec(parameters=ranges))

    def values(folder: Path, *, reopen: bool) -> list[dict[str, Any]]:
        known = study.opened(folder, wanted)
        found = []
        while trial := study.following(known, drawn, wanted, seed=5, free=anyone):
            found.append(trial.params)
            known.tell(trial, trial.params["training.optimizer.learningRate"])
            known = study.opened(folder, wanted) if reopen else known
        return found

    whole = values(tmp_path / "whole", reopen=False)
    assert whole == values(tmp_path / "restarted", reopen=True)
    assert len({json.dumps(one) for one in whole}) == 7
    assert all(1e-5 <= one["training.optimizer.learningRate"] <= 1e-2 for one in whole)


def test_a_trial_below_the_median_is_ended_and_one_above_goes_on(tmp_path: Path) -> None:
    wanted = Sweep.model_validate({"parameters": [{"path": "training.seed", "min": 1, "max": 9}]})
    known = study.opened(tmp_path, wanted)
    drawn = {"training.seed": IntDistribution(1, 9)}
    for score in (0.4, 0.5, 0.6, 0.7):
        trial = study.following(known, drawn, wanted, seed=1, free=anyone)
        assert trial is not None
        trial.report(score, 2)
        known.tell(trial, score)
    bad = study.following(known, drawn, wanted, seed=1, free=anyone)
    assert bad is not None
    bad.report(0.3, 2)
    assert bad.should_prune()
    known.tell(bad, state=TrialState.PRUNED)
    good = study.following(known, drawn, wanted, seed=1, free=anyone)
    assert good is not None
    good.report(0.8, 2)
    assert not good.should_prune()


def test_an_interrupted_trial_is_gone_on_with_not_begun_anew(tmp_path: Path) -> None:
    wanted = Sweep.model_validate({"parameters": [{"path": "training.seed", "min": 1, "max": 9}]})
    drawn = {"training.seed": IntDistribution(1, 9)}
    first = study.following(study.opened(tmp_path, wanted), drawn, wanted, seed=1, free=anyone)
    again = study.following(study.opened(tmp_path, wanted), drawn, wanted, seed=1, free=anyone)
    assert first is not None
    assert again is not None
    assert (again.number, again.params) == (first.number, first.params)


def test_what_is_drawn_follows_the_field() -> None:
    assert space.distributions(one("training.maxSteps", min=2, max=9)) == {
        "training.maxSteps": IntDistribution(2, 9)
    }
    rate = one("training.optimizer.learningRate", min=1e-5, max=1e-2, logScale=True)
    assert space.distributions(rate) == {
        "training.optimizer.learningRate": FloatDistribution(1e-5, 1e-2, log=True)
    }
    schedule = one("training.optimizer.schedule", values=['"Cosine"', '"Linear"'])
    assert space.distributions(schedule) == {
        "training.optimizer.schedule": CategoricalDistribution(['"Cosine"', '"Linear"'])
    }


@pytest.mark.parametrize(
    ("path", "more", "says"),
    [
        ("training.batchSiz", {"values": ["8"]}, "training.batchSiz: Extra inputs"),
        ("training.batchSize", {"values": ["1"]}, "greater than or equal to 2"),
        ("training.batchSize", {"min": 1, "max": 8}, "greater than or equal to 2"),
        ("training.optimizer.schedule", {"values": ["Cosine"]}, "Cosine of .* is no JSON"),
        (
            "recipe.embedding.contrastive.temperature",
            {"values": ["0.05"]},
            "below recipe.embedding.contrastive, which the spec does not have",
        ),
    ],
)
def test_what_cannot_be_tried_is_refused_before_the_first_trial(
    path: str, more: dict[str, Any], says: str
) -> None:
    with pytest.raises(BadInput, match=says):
        space.distributions(one(path, **more))


def test_a_sweep_of_which_nothing_can_be_trained_says_why(
    teacher_folder: Path, tmp_path: Path
) -> None:
    parameters = [{"path": "training.batchSize", "values": ["5000", "6000"]}]
    sweep = {"algorithm": "Grid", "parameters": parameters}
    job = Job(tmp_path, teacher_folder, training=TRAINING, sweep=sweep)
    for stage in (Stage.LABEL, Stage.PREPARE):
        job.run(stage)
    with pytest.raises(BadInput, match=r"none of the 2 trials .* training.batchSize is [56]000"):
        job.run(Stage.TRAIN)


def test_a_trial_that_fits_no_accelerator_does_not_end_the_others(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = [{"path": "training.batchSize", "values": ["16", "18"]}]
    sweep = {"algorithm": "Grid", "parameters": parameters, "prune": False}
    job = Job(tmp_path, teacher_folder, training=TRAINING, sweep=sweep)
    for stage in (Stage.LABEL, Stage.PREPARE):
        job.run(stage)
    step = loop._step

    def full(course: Any, *rest: Any) -> dict[str, Any]:
        if course.training.batch_size == 18:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(course, *rest)

    monkeypatch.setattr(loop, "_step", full)
    report, _ = job.run(Stage.TRAIN)
    assert report.sweep is not None
    assert (report.sweep.best, report.sweep.failed) == (0, 1)
    assert "accelerator ran out of memory" in table(job)["trials"][1]["why"]


def test_the_journal_needs_nothing_but_its_file(tmp_path: Path) -> None:
    wanted = Sweep.model_validate({"parameters": [{"path": "training.seed", "min": 1, "max": 9}]})
    known = study.opened(tmp_path, wanted)
    assert isinstance(known, optuna.Study)
    assert {path.name for path in tmp_path.iterdir()} == {study.JOURNAL}
