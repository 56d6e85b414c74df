"""The loop: it learns, resumes exactly, stops when asked, refuses what cannot work."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from distill_api.names import Reason
from distill_api.recipe import EmbeddingRecipe
from distill_api.student import Student
from distill_api.teacher import Prompts
from distill_api.training import Optimizer, Schedule, Training
from distill_trainer.errors import BadInput, TryAgain
from distill_trainer.students import make
from distill_trainer.training import convergence, courses, loop, optimiser, pairs
from distill_trainer.training.checkpoints import COMPLETE, Store
from safetensors.torch import load_file
from tiny_models import World
from torch import Tensor

EVERY = {
    "contrastive": {"symmetric": True},
    "teacherContrastive": {},
    "mse": {"weight": 10},
    "cosine": {},
    "marginMse": {},
    "matryoshka": {"dimensions": [8]},
}
TRAINING = {
    "maxSteps": 9,
    "batchSize": 8,
    "checkpointSteps": 2,
    "validationSteps": 3,
    "optimizer": {"learningRate": 1e-3},
}
ALONE = 12
"""Steps of the training that processes of their own begin."""
DROPOUT = 0.2

Weights = dict[str, Tensor]


class Killed(Exception):
    """Ends a training at once, without a checkpoint."""


def course(world: World, folder: Path, **changes: object) -> courses.EmbeddingCourse:
    """Build the course of a student with a projection, a head and active dropout."""
    recipe = EmbeddingRecipe.model_validate(changes.pop("recipe", EVERY))
    device = torch.device(str(changes.pop("device", "cpu")))
    wanted = {"fromTeacher": {"keepLayers": [0, 2], "hiddenSize": 16}, "embeddingDimension": 12}
    student = make.make(Student.model_validate(wanted), folder, Prompts(), max_length=32, seed=1)
    for module in student.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = DROPOUT
    training = Training.model_validate(TRAINING | changes)
    lesson = courses.Lesson(recipe, training, Prompts())
    return courses.gather(student, world.prepared, lesson, device=device)


def weights(course: courses.EmbeddingCourse) -> Weights:
    return {name: w.clone() for name, w in course.encoder.student.state_dict().items()}


@pytest.fixture(scope="module")
def undisturbed(
    world: World, teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Weights:
    made = course(world, teacher_folder)
    loop.train(made, Store(tmp_path_factory.mktemp("whole")), loop.Watch())
    return weights(made)


def same(one: Weights, other: Weights) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def killer(step: int) -> Callable[[int, int, dict[str, float]], None]:
    def tell(done: int, _total: int, _metrics: dict[str, float]) -> None:
        if done == step:
            raise Killed

    return tell


@pytest.mark.parametrize("step", [1, 2, 3, 5, 8])
def test_killed_at_any_step_the_weights_come_out_bit_equal(
    world: World, teacher_folder: Path, tmp_path: Path, undisturbed: Weights, step: int
):
    store = Store(tmp_path)
    with pytest.raises(Killed):
        loop.train(course(world, teacher_folder), store, loop.Watch(tell=killer(step)))
    torch.rand(100)  # a new process starts with other random states
    np.random.random(7)  # noqa: NPY002
    again = course(world, teacher_folder)
    standing = loop.train(again, store, loop.Watch())
    assert standing.step == 9
    assert same(weights(again), undisturbed)


def test_the_dropout_of_these_tests_is_active(
    world: World, teacher_folder: Path, tmp_path: Path, undisturbed: Weights
):
    made = course(world, teacher_folder)
    for module in made.encoder.student.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    loop.train(made, Store(tmp_path), loop.Watch())
    assert not same(weights(made), undisturbed)


def test_another_seed_gives_other_weights(
    world: World, teacher_folder: Path, tmp_path: Path, undisturbed: Weights
):
    made = course(world, teacher_folder, seed=43)
    loop.train(made, Store(tmp_path), loop.Watch())
    assert not same(weights(made), undisturbed)


@pytest.mark.slow
def test_sigkill_in_a_process_of_its_own_changes_nothing(
    world: World, teacher_folder: Path, tmp_path: Path
):
    """Two processes are killed, one after the other; this one ends what they began."""
    script = Path(__file__).with_name("train_alone.py")
    killed = tmp_path / "killed"
    command = [sys.executable, str(script), str(world.prepared), str(teacher_folder), str(killed)]
    environment = os.environ | {"PYTHONPATH": str(Path(tiny_models.__file__).parent)}
    for step in (3, 7):
        waits = ["--wait-after", str(step)]
        process = subprocess.Popen([*command, *waits], env=environment)
        deadline = time.monotonic() + 1500
        while _last_told(killed) != step and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert _last_told(killed) == step
    ends = []
    for checkpoints in (tmp_path / "whole", killed / "checkpoints"):
        made = course(world, teacher_folder, maxSteps=ALONE)
        loop.train(made, Store(checkpoints), loop.Watch())
        ends.append(weights(made))
    assert same(*ends)


def _last_told(folder: Path) -> int:
    told = folder / "told"
    lines = told.read_text().split() if told.exists() else []
    return int(lines[-1]) if lines else 0


def test_micro_batches_change_the_weights_by_rounding_only(
    world: World, teacher_folder: Path, tmp_path: Path
):
    ends, losses = [], []
    for number, micro in enumerate((None, 3)):
        changes = {"microBatchSize": micro} if micro else {}
        made = course(world, teacher_folder, maxSteps=3, **changes)
        assert made.max_rows == (None if micro is None else 12)
        for module in made.encoder.student.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        standing = loop.train(made, Store(tmp_path / str(number)), loop.Watch())
        losses.append([point["loss"] for point in standing.curve[1:]])
        ends.append(weights(made))
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    # AdamW turns the sign of a gradient near 0 into a whole step, so rounding shows in places.
    apart = [(ends[0][name] - ends[1][name]).abs().flatten() for name in ends[0]]
    assert torch.cat(apart).quantile(0.99) < 1e-4


def test_asked_to_stop_it_writes_a_checkpoint_and_goes_on_from_there(
    world: World, teacher_folder: Path, tmp_path: Path, undisturbed: Weights
):
    store, asked = Store(tmp_path), []
    watch = loop.Watch(tell=lambda done, *_: asked.append(done), stop=lambda: asked[-1] == 5)
    with pytest.raises(TryAgain, match=r"step 5 of 9; a checkpoint was written") as stopped:
        loop.train(course(world, teacher_folder), store, watch)
    assert stopped.value.reason is Reason.EVICTED
    assert store.steps()[-1] == 5
    again = course(world, teacher_folder)
    resumed = []
    loop.train(again, store, loop.Watch(tell=lambda done, *_: resumed.append(done)))
    assert resumed == [6, 7, 8, 9]
    assert same(weights(again), undisturbed)


def test_it_learns(world: World, teacher_folder: Path, tmp_path: Path):
    recipe = {"mse": {"weight": 10}, "cosine": {}}
    made = course(world, teacher_folder, recipe=recipe, maxSteps=60, validationSteps=20)
    standing = loop.train(made, Store(tmp_path), loop.Watch())
    losses = [point["loss"] for point in standing.curve if "loss" in point]
    assert len(losses) == 60
    assert np.mean(losses[-10:]) < 0.85 * np.mean(losses[:10])
    assert standing.curve[0]["step"] == 0
    assert standing.best_score is not None
    assert [p["step"] for p in standing.curve if "validation" in p] == [0, 20, 40, 60]
    assert all(math.isfinite(p["gradientNorm"]) for p in standing.curve[1:])


def test_the_best_checkpoint_is_what_is_left_in_the_student(
    world: World, teacher_folder: Path, tmp_path: Path
):
    made = course(world, teacher_folder)
    scores = iter([0.1, 0.3, 0.9, 0.5])
    made = replace(made, validation=_Scripted(scores))
    standing = loop.train(made, store := Store(tmp_path, keep=1), loop.Watch())
    assert (standing.best_step, standing.best_score) == (6, 0.9)
    assert set(store.steps()) == {6, 9}
    left = {name: weight.clone() for name, weight in weights(made).items()}
    store.restore_student(made.student, 6)
    assert all(torch.equal(weight, left[name]) for name, weight in weights(made).items())
    store.restore_student(made.student, 9)
    assert not all(torch.equal(weight, left[name]) for name, weight in weights(made).items())


def test_a_checkpoint_holds_no_frozen_weights_and_fits_only_its_own_student(
    world: World, teacher_folder: Path, tmp_path: Path
):
    made = course(world, teacher_folder, maxSteps=2, freezeEmbeddings=True)
    loop.train(made, store := Store(tmp_path), loop.Watch())
    frozen = [name for name, p in made.student.named_parameters() if not p.requires_grad]
    assert frozen
    saved = load_file(store.path(2) / "state.safetensors")
    assert not any(f"student.{name}" in saved for name in frozen)
    other = course(world, teacher_folder, maxSteps=2)
    with pytest.raises(RuntimeError, match="another student: 1 weights are in only one"):
        store.restore_student(other.student, 2)


class _Scripted:
    """Gives fixed validation scores, so that a test knows which one is best."""

    def __init__(self, scores: Iterator[float]) -> None:
        self.scores = scores

    def score(self, _encoder: object) -> float:
        return next(self.scores)


def test_early_stopping_ends_after_patience(world: World, teacher_folder: Path, tmp_path: Path):
    made = course(
        world, teacher_folder, maxSteps=30, earlyStopping={"patience": 2, "minImprovement": 0.05}
    )
    made = replace(made, validation=_Scripted(iter([0.1, 0.5, 0.52, 0.53, 0.9, 0.9])))
    standing = loop.train(made, Store(tmp_path), loop.Watch())
    assert standing.stopped_early
    assert standing.step == 9
    assert standing.best_step == 9
    assert convergence.converged(standing.curve, stopped_early=True) is True


def test_an_incomplete_checkpoint_does_not_exist(
    world: World, teacher_folder: Path, tmp_path: Path, undisturbed: Weights
):
    store = Store(tmp_path)
    with pytest.raises(Killed):
        loop.train(course(world, teacher_folder), store, loop.Watch(tell=killer(5)))
    last = store.steps()[-1]
    (store.path(last) / COMPLETE).unlink()
    (store.path(last) / "state.safetensors").write_bytes(b"half")
    assert last not in store.steps()
    again = course(world, teacher_folder)
    loop.train(again, store, loop.Watch())
    assert same(weights(again), undisturbed)


def test_a_checkpoint_holds_json_and_safetensors_only(
    world: World, teacher_folder: Path, tmp_path: Path
):
    store = Store(tmp_path)
    loop.train(course(world, teacher_folder, maxSteps=2), store, loop.Watch())
    names = {path.name for path in store.path(2).iterdir()}
    assert names == {"state.safetensors", "state.json", COMPLETE}
    told = json.loads((store.path(2) / "state.json").read_text())
    assert told["standing"]["step"] == 2


def test_divergence_is_told_with_step_rate_and_what_to_change(
    world: World, teacher_folder: Path, tmp_path: Path
):
    made = course(
        world,
        teacher_folder,
        recipe={"mse": {}},
        optimizer={"learningRate": 1.0, "maxGradientNorm": 0, "warmupRatio": 0},
    )
    with torch.no_grad():
        made.encoder.student[2].linear.weight.fill_(float("inf"))
    made = replace(made, validation=_Scripted(iter([0.0])))
    with pytest.raises(BadInput, match=r"step 1 .*learning rate 1\).*learningRate to a tenth") as e:
        loop.train(made, Store(tmp_path), loop.Watch())
    assert e.value.reason is Reason.TRAINING_DIVERGED


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"batchSize": 64}, r"batchSize is 64 .* only 42 records"),
        ({"recipe": EVERY | {"matryoshka": {"dimensions": [16]}}}, "names 16, .* 12 dimensions"),
    ],
)
def test_what_cannot_work_is_refused_before_the_first_step(
    world: World, teacher_folder: Path, changes: dict[str, object], sentence: str
):
    with pytest.raises(BadInput, match=sentence) as refused:
        course(world, teacher_folder, **changes)
    assert refused.value.reason is Reason.BAD_RECIPE


def test_margin_mse_without_negatives_is_refused(teacher_folder: Path, tmp_path: Path):
    bare = tiny_models.world(tmp_path, negatives=0)
    with pytest.raises(BadInput, match="marginMse learns from hard negatives and none were found"):
        course(bare, teacher_folder, recipe={"marginMse": {}})


@pytest.mark.parametrize("value", [float("nan"), 0.0])
def test_broken_teacher_embeddings_are_refused(teacher_folder: Path, tmp_path: Path, value: float):
    broken = tiny_models.world(tmp_path)
    vectors = np.load(broken.prepared / "embeddings.npy")
    vectors[:60] = value
    np.save(broken.prepared / "embeddings.npy", vectors)
    with pytest.raises(BadInput, match="rows of zeros, NaN or infinity"):
        course(broken, teacher_folder)


def test_a_teacher_that_finds_all_texts_alike_is_refused(teacher_folder: Path, tmp_path: Path):
    broken = tiny_models.world(tmp_path)
    vectors = np.load(broken.prepared / "embeddings.npy")
    np.save(broken.prepared / "embeddings.npy", np.ones_like(vectors))
    with pytest.raises(BadInput, match="finds all texts alike"):
        course(broken, teacher_folder)


def test_frozen_embeddings_stay_as_they_are(world: World, teacher_folder: Path, tmp_path: Path):
    made = course(world, teacher_folder, freezeEmbeddings=True, maxSteps=2)
    name = "0.model.embeddings.word_embeddings.weight"
    before = weights(made)
    loop.train(made, Store(tmp_path), loop.Watch())
    after = weights(made)
    assert torch.equal(before[name], after[name])
    assert not torch.equal(before["2.linear.weight"], after["2.linear.weight"])


def test_bfloat16_keeps_weights_in_float32(world: World, teacher_folder: Path, tmp_path: Path):
    made = course(world, teacher_folder, precision="BFloat16", maxSteps=2)
    standing = loop.train(made, Store(tmp_path), loop.Watch())
    assert all(math.isfinite(point["loss"]) for point in standing.curve[1:])
    assert {weight.dtype for weight in weights(made).values() if weight.is_floating_point()} == {
        torch.float32
    }


def test_other_answers_of_a_query_are_no_negatives(world: World, teacher_folder: Path):
    made = course(world, teacher_folder, batchSize=42)
    batch = made.source.batch(0, torch.device("cpu"))
    train = pairs.load(world.prepared, "train")
    answers = {query: known for query, known in train.answers().items() if len(known) > 1}
    assert answers == {0: frozenset({60, 61})}
    assert int(batch.rows.excluded.sum()) >= 2
    for record, column in batch.rows.excluded.nonzero().tolist():
        query = batch.texts[batch.rows.query[record]]
        document = batch.texts[batch.rows.candidates[column]]
        assert document in made.source.answers[int(query)]


def test_lone_documents_are_learnt_only_from_the_teacher(world: World, teacher_folder: Path):
    batch = course(world, teacher_folder).source.batch(0, torch.device("cpu"))
    without = course(world, teacher_folder, recipe={"contrastive": {}}).source
    assert batch.examples > 8
    assert without.batch(0, torch.device("cpu")).examples == 8


SCHEDULES = [
    (Schedule.LINEAR, [1 / 3, 2 / 3, 1.0, 0.875, 0.125]),
    (Schedule.CONSTANT, [1 / 3, 2 / 3, 1.0, 1.0, 1.0]),
    (Schedule.COSINE, [1 / 3, 2 / 3, 1.0, 0.961940, 0.038060]),
]


@pytest.mark.parametrize(("schedule", "expected"), SCHEDULES, ids=[s[0] for s in SCHEDULES])
def test_the_learning_rate_rises_and_falls(schedule: Schedule, expected: list[float]):
    wanted = Optimizer(warmup_ratio=0.2, schedule=schedule)
    found = [optimiser.learning_rate_factor(step, 10, wanted) for step in (0, 1, 2, 3, 9)]
    assert found == pytest.approx(expected, abs=1e-5)


def test_convergence_is_told_from_the_last_quarter():
    def curve(*scores: float) -> list[dict[str, float]]:
        return [{"validation": score} for score in scores]

    assert convergence.converged(curve(0.1, 0.5, 0.8, 0.81, 0.812), stopped_early=False) is True
    assert convergence.converged(curve(0.1, 0.2, 0.3, 0.4, 0.5), stopped_early=False) is False
    assert convergence.converged(curve(0.1, 0.5), stopped_early=False) is None
    # Log-likelihoods: flat is flat below 0, too.
    flat = curve(-4.0, -2.5, -2.02, -2.01, -2.0)
    assert convergence.converged(flat, stopped_early=False) is True
    assert convergence.converged(curve(-4.0, -3.0, -2.5, -2.2, -2.0), stopped_early=False) is False


def test_records_that_no_loss_learns_from_never_make_a_batch(teacher_folder: Path, tmp_path: Path):
    scarce = tiny_models.world(tmp_path)
    mined = np.load(scarce.prepared / "negatives.npy")
    mined[np.arange(len(mined)) % 3 > 0] = -1
    np.save(scarce.prepared / "negatives.npy", mined)
    made = course(scarce, teacher_folder, recipe={"marginMse": {}}, batchSize=2)
    assert 10 <= len(made.source.pairs) < 42
    for step in range(2 * len(made.source.pairs)):
        assert made.source.batch(step, torch.device("cpu")).rows.has_negatives
    # Other losses learn from all of them.
    whole = course(scarce, teacher_folder, recipe={"marginMse": {}, "mse": {}}, batchSize=2)
    assert len(whole.source.pairs) == 42
