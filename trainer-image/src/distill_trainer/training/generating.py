"""The course of a generating student: what each step adds to the gradients, how it is scored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from distill_api.teacher import Sampling
from torch import Tensor, nn

from distill_trainer.losses import attention, hidden, logits
from distill_trainer.losses.reduction import wide
from distill_trainer.students.causal import Causal
from distill_trainer.training import causal_pass, onpolicy, packing, sequences, text_course
from distill_trainer.training.causal_pass import Seen, Wanted
from distill_trainer.training.course import Learnt
from distill_trainer.training.onpolicy import Writing
from distill_trainer.training.sequences import Batch, Ids, Taught
from distill_trainer.training.text_course import Soft, TextCourse, Told

INSIDE = -1
"""Stands for the losses inside the models, where chunks are told by their first token."""


@dataclass(frozen=True, slots=True)
class Layers:
    """Which layers of the teacher the student's learn from; empty where none does."""

    states: Sequence[int] = ()
    """Teacher layer for each student layer."""
    attentions: Sequence[int] = ()

    def of_student(self) -> Wanted:
        """Return what is looked at in the student."""
        return Wanted(range(len(self.states)), range(len(self.attentions)))

    def of_teacher(self) -> Wanted:
        """Return what is looked at in the teacher."""
        return Wanted(self.states, self.attentions)


@dataclass(frozen=True, slots=True)
class GeneratorCourse(TextCourse[Causal]):
    """A causal student, what it learns from, and how long; a Course of the loop."""

    teacher: Causal | None = None
    """In evaluation mode, without gradients; None where its answers and their cache are enough."""
    layers: Layers = Layers()
    projections: nn.ModuleDict = field(default_factory=nn.ModuleDict)
    """From the student's width to the teacher's, by layer; empty where the widths are equal."""
    writing: Sampling | None = None
    """How the student writes the answers of some steps; None where it writes none."""

    @property
    def helpers(self) -> nn.Module:
        """The projections that the losses use."""
        return self.projections

    def begin(self) -> None:
        """Give the projections their first values, the same on every kind of device."""
        for module in self.projections.modules():
            if isinstance(module, nn.Linear):
                like = module.weight
                drawn = nn.Linear(module.in_features, module.out_features, False, dtype=like.dtype)
                with torch.no_grad():
                    like.copy_(drawn.weight)

    def learn(self, step: int) -> Learnt:
        """Add the gradients of a step's answers: the teacher's, or in some steps the student's."""
        taught = self.chosen(step)
        on_policy = self.recipe.logits.on_policy if self.recipe.logits else None
        if on_policy is None or not onpolicy.due(step, on_policy.share):
            return self.learn_from(taught)
        own = replace(self, recipe=onpolicy.alone(self.recipe))
        return replace(own.learn_from(self._written(step, taught)), told={"onPolicy": True})

    def _written(self, step: int, taught: Sequence[Taught]) -> list[Taught]:
        """Have the student answer a step's prompts."""
        assert self.writing is not None, "made with the recipe"
        seeds = [onpolicy.seed(self.training.seed, step, place) for place in range(len(taught))]
        with causal_pass.precision(self.device, bfloat16=self.bfloat16):
            how = Writing(self.writing, self.vocabulary, self.max_tokens)
            return onpolicy.answers(self.writer, taught, seeds, how, self.strategy.world)

    def cut(self, taught: Sequence[Taught]) -> list[Ids]:
        """Divide answers into the forward passes of a step."""
        if not self.training.packing:
            return self.parts(taught)
        return packing.passes(text_course.lengths(taught), self.max_tokens, self.max_rows)

    def nll(self, taught: Sequence[Taught]) -> Tensor:
        """Cross-entropy of answers in one forward pass, summed over tokens: [answers]."""
        return nll_by_row(self.writer, taught, bfloat16=self.bfloat16)

    def loss_of(
        self, taught: Sequence[Taught], share: float, sums: dict[str, float]
    ) -> Callable[[Self], Tensor]:
        """Return the loss of a pass; the teacher has said by now what is asked of it."""
        put = packing.pack if self.training.packing else sequences.pad
        batch = put(taught, self.writer.tokenizer.pad_token_id, self.device)
        of_teacher = self._ask_teacher(batch)
        return lambda course: course._loss(batch, of_teacher, share, sums)  # noqa: SLF001 - its own

    def _loss(
        self, batch: Batch, of_teacher: Seen | None, share: float, sums: dict[str, float]
    ) -> Tensor:
        wanted = self.layers.of_student()
        seen = causal_pass.look(self.writer, batch, wanted, bfloat16=self.bfloat16)
        total = torch.zeros((), device=self.device)
        told: Told = {}
        if self.recipe.outputs or self.recipe.logits:
            soft = self._soft(batch, of_teacher)
            total = total + self.of_tokens(seen.hidden, batch.labels, soft, told) * share
        inside = self._of_layers(batch, seen, of_teacher, told)
        if inside is not None:
            total = total + inside * share
        text_course.add(sums, told, share)
        return total

    def _ask_teacher(self, batch: Batch) -> Seen | None:
        """Run the teacher on the same tokens, where something of it is wanted."""
        if self.teacher is None:
            return None
        # Whoever holds the model may have switched its mode: dropout would blur what it says.
        self.teacher.model.eval()
        with torch.no_grad():
            return causal_pass.look(
                self.teacher, batch, self.layers.of_teacher(), bfloat16=self.bfloat16
            )

    def _soft(self, batch: Batch, of_teacher: Seen | None) -> Soft:
        """Return the divergence from the teacher: from its cache, else from itself."""
        if batch.cached is not None or self.teacher is None:
            return self.from_cache(batch.cached)
        teacher, precision = self.teacher, causal_pass.precision
        assert of_teacher is not None, "asked for this pass"

        def soft(shared: Tensor, begin: int, end: int) -> Tensor:
            with torch.no_grad(), precision(self.device, bfloat16=self.bfloat16):
                told = teacher.logits(of_teacher.hidden[begin:end])[:, : self.vocabulary]
            return logits.divergence(shared, told, *self.softened)

        return soft

    def _of_layers(
        self, batch: Batch, seen: Seen, of_teacher: Seen | None, told: Told
    ) -> Tensor | None:
        """Weighted sum over tokens of the losses inside the models; None where there is none."""
        if of_teacher is None or not (self.layers.states or self.layers.attentions):
            return None
        total = torch.zeros((), device=self.device)
        parts = told[INSIDE] = {}
        if self.recipe.hidden_states is not None:
            projected = [self._projected(place, state) for place, state in enumerate(seen.layers)]
            states = hidden.states(projected, of_teacher.layers).sum()
            parts["hiddenStates"] = states.detach()
            total = total + self.recipe.hidden_states.weight * states
        if self.recipe.attentions is not None:
            keep = causal_pass.visible(batch)
            moved = attention.transfer(seen.attentions, of_teacher.attentions, keep).sum()
            parts["attentions"] = moved.detach()
            total = total + self.recipe.attentions.weight * moved
        parts["loss"] = total.detach()
        return total

    def _projected(self, layer: int, state: Tensor) -> Tensor:
        if not len(self.projections):
            return state
        projection = self.projections[str(layer)]
        projected: Tensor = projection(wide(state))
        return projected


@torch.no_grad()
def nll_by_row(causal: Causal, taught: Sequence[Taught], *, bfloat16: bool = False) -> Tensor:
    """Cross-entropy of answers in one forward pass, summed over tokens: [answers]."""
    batch = sequences.pad(taught, causal.tokenizer.pad_token_id, causal.model.device)
    seen = causal_pass.look(causal, batch, Wanted(), bfloat16=bfloat16)
    per_token = text_course.nll(causal, seen.hidden, batch.labels, bfloat16=bfloat16)
    return text_course.by_text(per_token, taught)
