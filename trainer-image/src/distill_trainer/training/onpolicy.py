"""Answers that the student writes while it is trained, for its teacher to score.

Source: Agarwal et al. 2024, arXiv:2306.13649 (GKD). There the loss is the generalised divergence of
Jensen and Shannon alone; here it is any of the recipe's, times the square of its temperature.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from distill_api.recipe import GeneratorRecipe
from distill_api.teacher import Sampling

from distill_trainer.distributed import dealing
from distill_trainer.distributed.world import World
from distill_trainer.students.causal import Causal
from distill_trainer.teachers.local_generator import LocalGenerator
from distill_trainer.training import encode
from distill_trainer.training.sequences import Ids, Taught

ROUNDING = 1e-9
"""A product of step and share is so near to a whole number that it is meant to be one."""


@dataclass(frozen=True, slots=True)
class Writing:
    """How a student writes."""

    sampling: Sampling
    vocabulary: int
    """Tokens that its teacher knows, too: a head may have more rows."""
    most: int
    """Tokens of a pass, unless one answer alone has more."""


def due(step: int, share: float) -> bool:
    """Tell whether the student answers in a step, counted from 0: in a share of all, evenly.

    No chance is in it, so that every process decides alike.
    """
    before, after = (math.floor(count * share + ROUNDING) for count in (step, step + 1))
    return after > before


def alone(recipe: GeneratorRecipe) -> GeneratorRecipe:
    """Return the losses of a step in which the student answers: nothing tells the right tokens."""
    assert recipe.logits is not None
    logits = recipe.logits.model_copy(update={"alpha": 1.0})
    return recipe.model_copy(update={"outputs": None, "logits": logits})


def seed(training: int, step: int, place: int) -> int:
    """Return the seed of an answer: whatever was drawn before, a resumed step draws the same."""
    drawn = np.random.SeedSequence([training, step, place]).generate_state(1, np.uint64)
    return int(drawn[0] >> np.uint64(1))


def answers(
    student: Causal,
    asked: Sequence[Taught],
    seeds: Sequence[int],
    how: Writing,
    world: World,
) -> list[Taught]:
    """Have the student answer the prompts of a step; the processes share the work.

    Returns what every process then has.
    """
    longest = how.sampling.max_tokens
    lengths = np.array([len(one.prompt) for one in asked], dtype=np.int64)
    shares = dealing.deal(lengths, world.size, None)
    hand = shares[world.rank].places
    parts = encode.micro_batches(lengths[hand] + longest, how.most, len(asked))
    own = torch.zeros(len(hand), longest + 1, dtype=torch.int64)
    for part in parts:
        chosen = hand[part]
        prompts = [asked[place].prompt.tolist() for place in chosen]
        written = _write(student, how, prompts, [seeds[place] for place in chosen])
        for row, ids in zip(part, written, strict=True):
            own[row, : len(ids) + 1] = torch.tensor([len(ids), *ids])
    gathered = world.rows(own.to(world.device), [len(share.places) for share in shares]).cpu()
    found: list[Ids] = [row[1 : 1 + row[0]] for row in gathered[dealing.order(shares)].numpy()]
    return [Taught(one.prompt, ids) for one, ids in zip(asked, found, strict=True)]


def _write(
    student: Causal, how: Writing, prompts: list[list[int]], seeds: list[int]
) -> list[list[int]]:
    """Write without dropout, and leave the student in the mode in which it was."""
    was = student.model.training
    student.model.eval()
    try:
        own = LocalGenerator(student, how.sampling, len(prompts), vocabulary=how.vocabulary)
        return own.write(prompts, seeds)
    finally:
        student.model.train(was)
