"""Makes a generating student's course; all that cannot work is refused before the first step."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from distill_api.names import Reason
from distill_api.recipe import GeneratorRecipe, LayerMatch, QueryTransformRecipe
from distill_api.teacher import Sampling
from distill_api.training import Training
from torch import nn

from distill_trainer.errors import BadInput
from distill_trainer.losses import hidden
from distill_trainer.students.causal import Causal
from distill_trainer.texts import conversation
from distill_trainer.training import causal_pass, packing, runtime, sequences
from distill_trainer.training.generating import GeneratorCourse, Layers
from distill_trainer.training.sequences import Chat, Reading, Taught

LEAST = 10
"""Answers that have to fit into the student's length."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is taught."""

    recipe: GeneratorRecipe
    training: Training
    sampling: Sampling
    max_length: int | None = None
    """Tokens of a prompt and its answer; the model's own limit where None."""
    chat: Chat = sequences.of_question
    """Makes the conversation of a record."""


def gather(
    student: Causal,
    prepared: Path,
    lesson: Lesson,
    *,
    device: torch.device,
    teacher: Callable[[], Causal] | None,
) -> GeneratorCourse:
    """Make a course of what the prepare stage left in a folder.

    teacher: opens the teacher's weights; called only where the recipe needs them while training.
    Raises BadInput when recipe, tokenizers and data do not fit.
    """
    recipe = lesson.recipe
    how, longest = _reading(student, prepared, lesson)
    writing = _writing(recipe, lesson.sampling)
    room = 0 if writing is None else writing.max_tokens
    train = _load(prepared, "train", how, longest, room)
    validation = _load(prepared, "validation", how, longest)
    train = _cached_alone(recipe, train)
    opened = _open(recipe, train, teacher)
    layers = _layers(recipe, student, opened)
    _make_ready(student, opened, lesson, device)
    return GeneratorCourse(
        recipe=recipe,
        training=lesson.training,
        writer=student,
        examples=train,
        validation=validation,
        device=device,
        vocabulary=_shared_vocabulary(student, opened),
        teacher=None if opened is None else _still(opened, device),
        layers=layers,
        projections=_projections(student, opened, layers).to(device),
        writing=writing,
    )


def _make_ready(
    student: Causal, teacher: Causal | None, lesson: Lesson, device: torch.device
) -> None:
    """Set both models up for what the spec asks, and move the student to where it learns.

    Raises BadInput where answers cannot be packed for one of them.
    """
    runtime.spare(student.model, lesson.training)
    both = [model for model in (student, teacher) if model is not None]
    if lesson.recipe.attentions is not None and teacher is not None:
        # The fast kernels do not tell where they look.
        for one in both:
            one.model.set_attn_implementation("eager")
        causal_pass.undimmed(student)
    student.model.to(device)
    if lesson.training.packing:
        for one in both:
            packing.check(one)


def read(student: Causal, prepared: Path, lesson: Lesson, split: str) -> list[Taught]:
    """Read the sequences of a split as a student is taught them, the answers with their prompts.

    Raises BadInput when tokenizers and data do not fit.
    """
    how, longest = _reading(student, prepared, lesson)
    return _load(prepared, split, how, longest)


def _reading(student: Causal, prepared: Path, lesson: Lesson) -> tuple[Reading, int | None]:
    """Return how texts become a student's tokens, and how many it can read."""
    told = json.loads((prepared / "prepared.json").read_text())
    conversation.ensure_template(student.tokenizer)
    same = check_tokens(student.tokenizer, told, lesson.recipe)
    how = Reading(student.tokenizer, lesson.sampling, same, lesson.chat)
    return how, min((n for n in (lesson.max_length, student.positions) if n), default=None)


def needs_tokens(recipe: GeneratorRecipe) -> bool:
    """Tell whether teacher and student have to read the same tokens."""
    return bool(recipe.logits or recipe.hidden_states or recipe.attentions)


def check_tokens(tokenizer: Any, told: Mapping[str, Any], recipe: GeneratorRecipe) -> bool:
    """Tell whether a student's tokenizer is its teacher's; refuses another one where it matters.

    Compares which id stands for which token; sizes of the padded heads say nothing. told: what the
    label stage knows of the teacher's.
    """
    known = told.get("tokenizer")
    same = known is not None and known["hash"] == conversation.vocabulary_hash(tokenizer)
    if not same and needs_tokens(recipe):
        raise _other_tokens(len(tokenizer), known, recipe)
    return same


def member(recipe: GeneratorRecipe) -> str:
    """Name the recipe's place in the object."""
    return "recipe." + (
        "queryTransform" if isinstance(recipe, QueryTransformRecipe) else "generator"
    )


def _cached_alone(recipe: GeneratorRecipe, train: list[Taught]) -> list[Taught]:
    """Leave out the few answers whose distributions are not cached, where most are.

    Otherwise the teacher would run in every step for their sake.
    """
    cached = [one for one in train if one.cached is not None]
    if not recipe.logits or recipe.hidden_states or recipe.attentions:
        return train
    if not len(train) / 2 <= len(cached) < len(train) or len(cached) < LEAST:
        return train
    log.warning("%d answers have no cached distributions", len(train) - len(cached))
    return cached


def _other_tokens(size: int, known: Mapping[str, Any] | None, recipe: GeneratorRecipe) -> BadInput:
    if known is None:
        return BadInput(
            Reason.BAD_RECIPE,
            f"{member(recipe)}.logits learns from the numbers of the teacher's tokens, and which"
            " tokenizer they are of is not known: name it in teacher.endpoint.tokenizer, or use"
            f" {member(recipe)}.outputs alone",
        )
    return BadInput(
        Reason.BAD_RECIPE,
        f"The tokenizers differ: the teacher's has {known['size']} tokens, the student's"
        f" {size}, and the same number does not stand for the same token. logits,"
        " hiddenStates and attentions compare token by token: take a student with the teacher's"
        f" tokenizer, or use {member(recipe)}.outputs alone, which learns from the text",
    )


def _writing(recipe: GeneratorRecipe, of_teacher: Sampling) -> Sampling | None:
    """Return how the student writes answers of its own; None where it writes none."""
    asked = recipe.logits.on_policy if recipe.logits else None
    if asked is None:
        return None
    most = asked.max_tokens or of_teacher.max_tokens
    return Sampling(temperature=asked.temperature, max_tokens=most)


def _load(
    prepared: Path, split: str, how: Reading, longest: int | None, room: int = 0
) -> list[Taught]:
    def tell(left_out: int) -> None:
        if left_out:
            log.warning("%d %s answers are longer than %s tokens", left_out, split, longest)

    found = sequences.load(prepared, split, how)
    kept = sequences.fitting(found, longest, tell, room)
    least = LEAST if split == "train" else 1
    if len(kept) < least:
        raise BadInput(
            Reason.BAD_DATA,
            f"{len(kept)} of {len(found)} {split} answers fit, with their prompts, into {longest}"
            f" tokens; at least {least} are needed. Raise student.maxLength, or shorten the"
            " contexts",
        )
    return kept


def _open(
    recipe: GeneratorRecipe, train: list[Taught], teacher: Callable[[], Causal] | None
) -> Causal | None:
    """Open the teacher where the cache is not enough."""
    cached = all(one.cached is not None for one in train)
    inside = recipe.hidden_states or recipe.attentions
    on_policy = recipe.logits is not None and recipe.logits.on_policy is not None
    if not inside and not on_policy and (recipe.logits is None or cached):
        return None
    if teacher is None:
        what = "hiddenStates and attentions" if inside else "logits without cached ones"
        what = "logits.onPolicy" if on_policy else what
        raise BadInput(
            Reason.BAD_RECIPE,
            f"{member(recipe)}.{what} need the teacher's weights while training, and it is behind"
            " an endpoint: name teacher.model, or set teacher.sampling.topLogprobs and use logits",
        )
    return teacher()


def _still(teacher: Causal, device: torch.device) -> Causal:
    teacher.model.to(device).requires_grad_(False).eval()
    return teacher


def _shared_vocabulary(student: Causal, teacher: Causal | None) -> int:
    """Count the tokens that the tokenizer knows; both heads are cut to that many rows."""
    known = int(max(student.tokenizer.get_vocab().values())) + 1
    for role, one in (("student", student), ("teacher", teacher)):
        rows = known if one is None else one.model.get_output_embeddings().weight.shape[0]
        if rows < known:
            raise BadInput(
                Reason.BAD_MODEL,
                f"the {role} has logits for {rows} tokens and its tokenizer knows {known}: its"
                " folder mixes two models; take config, weights and tokenizer from one",
            )
    return known


def _layers(recipe: GeneratorRecipe, student: Causal, teacher: Causal | None) -> Layers:
    if teacher is None:
        return Layers()
    where = member(recipe)
    return Layers(
        states=_map(recipe.hidden_states, f"{where}.hiddenStates", student, teacher),
        attentions=_map(recipe.attentions, f"{where}.attentions", student, teacher),
    )


def _map(match: LayerMatch | None, name: str, student: Causal, teacher: Causal) -> list[int]:
    """Return the teacher layer of each student layer; refuses a map that does not fit."""
    if match is None:
        return []
    own, theirs = (int(one.model.config.num_hidden_layers) for one in (student, teacher))
    if match.layer_map is None:
        return hidden.spread(own, theirs)
    if len(match.layer_map) != own or max(match.layer_map) >= theirs:
        raise BadInput(
            Reason.BAD_RECIPE,
            f"{name}.layerMap {match.layer_map} does not fit: it needs one entry"
            f" for each of the student's {own} layers, each from 0 to {theirs - 1}, the teacher's"
            " last layer",
        )
    return list(match.layer_map)


def _projections(student: Causal, teacher: Causal | None, layers: Layers) -> nn.ModuleDict:
    """Make a projection for each matched layer where the widths differ."""
    if teacher is None or not layers.states:
        return nn.ModuleDict()
    own, theirs = (int(one.model.config.hidden_size) for one in (student, teacher))
    if own == theirs:
        return nn.ModuleDict()
    return nn.ModuleDict(
        {str(layer): nn.Linear(own, theirs, bias=False) for layer in range(len(layers.states))}
    )
