"""Steps in which the student answers and its teacher scores what it wrote."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any, ClassVar

import numpy as np
import pytest
import tiny_causal
import torch
from distill_api.recipe import GeneratorRecipe
from distill_api.teacher import Sampling
from distill_trainer.distributed.world import ALONE, World
from distill_trainer.errors import BadInput, TryAgain
from distill_trainer.training import gathering, loop, onpolicy, order
from distill_trainer.training.checkpoints import Store
from distill_trainer.training.generating import GeneratorCourse
from distill_trainer.training.onpolicy import Writing
from distill_trainer.training.sequences import Taught
from tiny_courses import course, gradients, some
from torch import Tensor

WRITING = Sampling(temperature=1.0, max_tokens=6)


def on_policy(share: float = 1.0, student_seed: int = 1, **training: object) -> GeneratorCourse:
    """Make a course with teacher and student of random weights."""
    teacher = tiny_causal.model(layers=2)
    student = tiny_causal.model(layers=1, seed=student_seed)
    recipe: dict[str, Any] = {
        "logits": {"temperature": 1, "divergence": "ReverseKL", "onPolicy": {"share": share}}
    }
    made = course(recipe, some(student, 6), student, teacher, **training)
    return replace(made, writing=WRITING)


def written(
    of: GeneratorCourse,
    asked: Sequence[Taught] | None = None,
    step: int = 0,
    most: int = 2048,
    world: World = ALONE,
) -> list[Taught]:
    """Have the student answer the examples, or others."""
    asked = of.examples if asked is None else asked
    seeds = [onpolicy.seed(of.training.seed, step, n) for n in range(len(asked))]
    how = Writing(WRITING, of.vocabulary, most)
    return onpolicy.answers(of.writer, asked, seeds, how, world)


def test_the_steps_are_a_share_of_all_evenly_spread():
    for share in (0.1, 0.3, 0.5, 1.0):
        found = [onpolicy.due(step, share) for step in range(100)]
        assert sum(found) == round(100 * share)
        assert {sum(found[at : at + 10]) for at in range(0, 100, 10)} == {round(10 * share)}


def test_the_student_writes_as_it_is_without_dropout_and_the_same_in_any_batch():
    of = on_policy()
    of.student.train()
    first = written(of)
    assert of.student.training
    torch.manual_seed(99)
    again = written(of, most=1)  # one answer a pass
    for one, other, asked in zip(first, again, of.examples, strict=True):
        assert np.array_equal(one.target, other.target)
        assert np.array_equal(one.prompt, asked.prompt)
        assert 1 <= len(one.target) <= 6
    assert not all(
        np.array_equal(one.target, other.target)
        for one, other in zip(first, written(of, step=1), strict=True)
    )


def test_the_student_writes_no_token_that_its_teacher_does_not_know():
    # T4: rows of a padded head stand for none, and a smaller teacher has no embedding for them.
    of = on_policy()
    padded = tiny_causal.model(layers=1, padded=8, seed=1)
    with torch.no_grad():
        padded.model.get_output_embeddings().weight[-8:] *= 100
    of = replace(of, writer=padded)
    assert all(int(one.target.max()) < of.vocabulary for one in written(of))
    assert np.isfinite(of.learn(0).loss)


def test_such_a_step_learns_the_teachers_distribution_on_what_the_student_wrote():
    of = on_policy()
    loss, found = gradients(of)
    recipe = GeneratorRecipe.model_validate(
        {"logits": {"temperature": 1, "divergence": "ReverseKL", "alpha": 1}}
    )
    # The same answers, given; T2: divided by the tokens of what was written.
    places = order.records(6, 6, 0, seed=of.training.seed)
    answered = written(of, [of.examples[place] for place in places])
    taught = [answered[place] for place in np.argsort(places)]
    given = replace(of, recipe=recipe, examples=taught, writing=None)
    expected = gradients(given)
    assert loss == pytest.approx(expected[0], rel=1e-6)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[1][name], rtol=0, atol=1e-6)
    told = of.learn(0)
    assert told.examples == sum(len(one.target) for one in taught)
    assert told.told == {"onPolicy": True}


class Pair(World):
    """Two processes that are threads here: what each has is put below each other, by rank."""

    meeting = Barrier(2)
    brought: ClassVar[dict[int, Tensor]] = {}

    def rows(self, own: Tensor, counts: Sequence[int]) -> Tensor:
        self.brought[self.rank] = own
        self.meeting.wait(30)
        both = [self.brought[rank] for rank in (0, 1)]
        assert [len(one) for one in both] == list(counts)
        return torch.cat(both)


def test_two_processes_share_the_writing_and_have_the_same_answers():
    expected = written(on_policy())
    assert len({tuple(answer.target) for answer in expected}) > 1
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(written, on_policy(), world=Pair(rank, 2)) for rank in (0, 1)]
        for one in both:
            for answer, alone in zip(one.result(), expected, strict=True):
                assert np.array_equal(answer.target, alone.target)


@pytest.mark.parametrize("split", [{"microBatchSize": 2}, {"packing": True}], ids=str)
def test_any_split_of_such_a_step_gives_the_same_gradient(split: dict[str, object]):
    expected, found = gradients(on_policy()), gradients(on_policy(**split))
    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    for name, gradient in found[1].items():
        torch.testing.assert_close(gradient, expected[1][name], rtol=0, atol=1e-6)


def _weights(folder: Path, *stops: int) -> dict[str, Tensor]:
    """Train, ended at these steps; return the weights."""
    ended = 0
    for stop in (*stops, 99):
        of = on_policy(0.5, maxSteps=6, batchSize=4, checkpointSteps=100)
        done: list[int] = []
        watch = loop.Watch(lambda step, _all, _told, done=done: done.append(step),
                           lambda done=done, stop=stop: done[-1] >= stop)  # fmt: skip
        try:
            standing = loop.train(of, Store(folder), watch)
        except TryAgain:
            ended += 1
    assert ended == len(stops)
    assert {bool(point.get("onPolicy")) for point in standing.curve[1:]} == {True, False}
    return of.student.state_dict()


def test_a_training_that_was_ended_goes_on_to_equal_bits(tmp_path: Path):
    whole, parts = _weights(tmp_path / "whole"), _weights(tmp_path / "parts", 1, 4)
    untrained = on_policy().student.state_dict()
    assert not all(torch.equal(value, untrained[name]) for name, value in whole.items())
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


def test_the_teachers_weights_are_needed_and_their_absence_is_told():
    recipe = on_policy().recipe
    with pytest.raises(BadInput, match=r"logits\.onPolicy need.* behind an endpoint"):
        gathering._open(recipe, [], None)
