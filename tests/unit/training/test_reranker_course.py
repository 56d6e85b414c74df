"""What a step of a reranker teaches: gradients, scale, margins, and teachers that teach nothing."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_rankers
import torch
from distill_api.names import Reason, Stage
from distill_api.recipe import RerankerRecipe
from distill_api.student import Student
from distill_api.teacher import Prompts
from distill_api.training import Training
from distill_trainer.errors import BadInput
from distill_trainer.students import rankers, scorers
from distill_trainer.training import pairs, reranking
from distill_trainer.training.ranking import Scale
from distill_trainer.training.reranking import Lesson, RerankerCourse, Setting
from stage_jobs import Job

ARCHITECTURES = ["BiEncoder", "LateInteraction", "CrossEncoder"]
EVERYTHING: dict[str, Any] = {
    "marginMse": {},
    "hingeMargin": {"weight": 0.5},
    "listwiseKl": {},
    "contrastive": {"weight": 0.1},
}
PROMPTS = Prompts(query="a1 ", document="b1 ")


@pytest.fixture(scope="module")
def ranking_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranker")
    tiny_rankers.teacher().save(str(folder))
    return folder


@pytest.fixture(scope="module")
def prepared(ranking_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    job = Job(
        tmp_path_factory.mktemp("job"),
        ranking_teacher,
        component="Reranker",
        student={"fromTeacher": {"keepLayers": [0]}},
        recipe={"reranker": {"marginMse": {}}},
    )
    tiny_rankers.write_data(job.root / "data.jsonl")
    job.run(Stage.LABEL)
    job.run(Stage.PREPARE)
    return job.output(Stage.PREPARE)


def a_course(
    prepared: Path, weights: Path, architecture: str, recipe: dict[str, Any], **training: Any
) -> RerankerCourse:
    student = rankers.make_ranker(
        Student.model_validate({"fromTeacher": {"keepLayers": [0]}, "architecture": architecture}),
        weights,
        PROMPTS,
        max_length=None,
        seed=1,
    )
    settings = {"batchSize": 8, "maxSteps": 20, **training}
    lesson = Lesson(
        RerankerRecipe.model_validate(recipe), Training.model_validate(settings), PROMPTS
    )
    return reranking.gather(student, prepared, lesson, Setting(torch.device("cpu")))


def gradients(course: RerankerCourse) -> dict[str, torch.Tensor]:
    course.student.zero_grad()
    course.scale.zero_grad()
    course.learn(3)
    named = [*course.student.named_parameters(), *course.scale.named_parameters()]
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_micro_batches_change_no_gradient(prepared: Path, ranking_teacher: Path, architecture: str):
    whole = gradients(a_course(prepared, ranking_teacher, architecture, EVERYTHING))
    assert sum(float(one.abs().sum()) for one in whole.values()) > 0
    assert architecture == "CrossEncoder" or "log" in whole
    for micro in (1, 3):
        course = a_course(prepared, ranking_teacher, architecture, EVERYTHING, microBatchSize=micro)
        assert course.max_rows is not None
        parts = gradients(course)
        assert parts.keys() == whole.keys()
        largest = max(float(one.abs().max()) for one in whole.values())
        for name, expected in whole.items():
            assert float((parts[name] - expected).abs().max()) < 1e-6 * max(largest, 1.0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_lists_of_one_document_stop_no_training(
    prepared: Path, ranking_teacher: Path, tmp_path: Path, architecture: str
):
    scarce = tmp_path / "prepared"
    shutil.copytree(prepared, scarce)
    others, scores = np.load(scarce / "negatives.npy"), np.load(scarce / "scores.npy")
    alone = np.arange(len(others)) % 3 > 0
    others[alone], scores[alone, 1:] = -1, np.nan
    np.save(scarce / "negatives.npy", others)
    np.save(scarce / "scores.npy", scores)
    listed = a_course(scarce, ranking_teacher, architecture, {"marginMse": {}}, batchSize=2)
    assert listed.source.pairs.compared.all()
    assert 10 <= len(listed.source.pairs) == len(listed.scores)
    # By the documents of other lists they teach something.
    every = a_course(scarce, ranking_teacher, architecture, EVERYTHING, batchSize=2)
    assert len(every.source.pairs) > len(listed.source.pairs)
    for step in range(40):
        every.student.zero_grad()
        assert np.isfinite(every.learn(step).loss)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_scores_are_those_of_the_served_student(
    prepared: Path, ranking_teacher: Path, architecture: str
):
    course = a_course(prepared, ranking_teacher, architecture, {"marginMse": {}})
    course.begin()
    told = course.learn(0).told["margins"]
    batch = course.source.batch(0, torch.device("cpu"))
    asked = course._pairs(batch)
    scored = scorers.scorer(course.student.eval(), PROMPTS, 7).score(asked).scores
    kept = (batch.rows.negatives >= 0).numpy()
    counts = 1 + kept.sum(axis=1)
    lists = np.split(scored, np.cumsum(counts)[:-1])
    margins = np.concatenate([one[0] - one[1:] for one in lists])
    factor = course.scale.log.exp().item() if isinstance(course.scale, Scale) else 1.0
    assert told["mean"] == pytest.approx(factor * float(margins.mean()), abs=1e-4)
    assert told["p90"] == pytest.approx(factor * float(np.quantile(margins, 0.9)), abs=1e-4)


def test_cosines_are_scaled_to_the_spread_of_raw_scores(prepared: Path, ranking_teacher: Path):
    """ST#3540: the margins of cosines are at most 2, and those of raw logits are not."""
    course = a_course(prepared, ranking_teacher, "BiEncoder", {"marginMse": {}}, batchSize=64)
    teacher = course.scores[:, :1] - course.scores[:, 1:]
    kept = np.isfinite(teacher)
    assert np.abs(teacher[kept]).max() > 4
    course.begin()
    spread = course.learn(0).told["margins"]
    assert spread["p90"] - spread["p10"] == pytest.approx(
        float(np.quantile(teacher[kept], 0.9) - np.quantile(teacher[kept], 0.1)), rel=0.3
    )


def test_the_scale_is_learnt_and_absent_where_nothing_is_compared(
    prepared: Path, ranking_teacher: Path
):
    learnt = a_course(prepared, ranking_teacher, "BiEncoder", {"marginMse": {}})
    assert gradients(learnt)["log"].abs() > 0
    alone = a_course(prepared, ranking_teacher, "BiEncoder", {"contrastive": {}})
    assert not list(alone.helpers.parameters())


def refused(scores: np.ndarray, recipe: dict[str, Any]) -> BadInput:
    records, documents = scores.shape
    ids = np.arange(records)
    train = pairs.Pairs(ids, ids, np.ones((records, documents - 1), np.int64), ids[:0])
    lesson = Lesson(
        RerankerRecipe.model_validate(recipe), Training.model_validate({"batchSize": 4}), Prompts()
    )
    with pytest.raises(BadInput) as found:
        reranking.check(lesson, train, scores.astype(np.float32))
    return found.value


def test_margins_of_probabilities_are_refused():
    """T13: a sigmoid presses the margins together."""
    squashed = 1 / (1 + np.exp(-np.random.default_rng(1).normal(size=(20, 4)) * 5))
    error = refused(squashed, {"marginMse": {}})
    assert error.reason is Reason.BAD_RECIPE
    assert "between 0 and 1" in error.sentence
    raw = reranking.check(
        Lesson(
            RerankerRecipe.model_validate({"marginMse": {}}),
            Training.model_validate({"batchSize": 4}),
            Prompts(),
        ),
        pairs.Pairs(np.arange(20), np.arange(20), np.ones((20, 3), np.int64), np.arange(0)),
        np.log(squashed / (1 - squashed)).astype(np.float32),
    )
    assert raw is None


def test_a_collapsed_temperature_is_refused_with_a_better_one():
    """T14: at a temperature too low, softmax leaves nothing to learn from."""
    scores = np.random.default_rng(2).normal(size=(20, 4)) * 100
    error = refused(scores, {"listwiseKl": {"temperature": 0.5}})
    assert error.reason is Reason.BAD_RECIPE
    assert "raise the temperature" in error.sentence


def test_a_teacher_without_an_opinion_is_refused():
    assert refused(np.full((20, 4), 3.0), {"listwiseKl": {}}).reason is Reason.BAD_MODEL
