"""The course of a generating student: what each step adds to the gradients, how it is scored."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from distill_api.recipe import GeneratorRecipe
from distill_api.sources import Sampling
from distill_api.training import Precision, Training
from torch import Tensor, nn

from distill_trainer.distributed import dealing
from distill_trainer.distributed.strategy import Alone, Strategy, evaluating
from distill_trainer.losses import attention, chunks, hidden, logits, tokens
from distill_trainer.losses.reduction import wide
from distill_trainer.students.causal import Causal
from distill_trainer.training import (
    causal_pass,
    encode,
    onpolicy,
    optimiser,
    order,
    packing,
    sequences,
)
from distill_trainer.training.causal_pass import Seen, Wanted
from distill_trainer.training.course import Learnt, planned
from distill_trainer.training.onpolicy import Writing
from distill_trainer.training.sequences import Batch, Ids, Taught

MAX_TOKENS = 2048
"""Tokens of a forward pass on a CPU, padding included."""
MAX_TOKENS_ACCELERATOR = 32768
MAX_ROWS = 256
INSIDE = -1
"""Stands for the losses inside the models, where chunks are told by their first token."""
VALIDATION_ROWS = 512
"""Answers that a validation looks at, at most."""

type Told = dict[int, dict[str, Tensor]]
"""Parts of a loss by the first token of their chunk; numbers only when all are computed, as an
accelerator would else be waited for in every chunk."""


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
class GeneratorCourse:
    """A causal student, what it learns from, and how long; a Course of the loop."""

    recipe: GeneratorRecipe
    training: Training
    causal: Causal
    examples: Sequence[Taught]
    validation: Sequence[Taught]
    device: torch.device
    vocabulary: int
    """Tokens that both tokenizers know; rows of the heads beyond are padding."""
    teacher: Causal | None = None
    """In evaluation mode, without gradients; None where its answers and their cache are enough."""
    layers: Layers = Layers()
    projections: nn.ModuleDict = field(default_factory=nn.ModuleDict)
    """From the student's width to the teacher's, by layer; empty where the widths are equal."""
    strategy: Strategy = field(default_factory=Alone)
    """How several processes train the student."""
    writing: Sampling | None = None
    """How the student writes the answers of some steps; None where it writes none."""

    def shared(self, strategy: Strategy) -> "GeneratorCourse":
        """Return the course for one of several processes that train the student together."""
        return replace(self, strategy=strategy)

    @property
    def student(self) -> nn.Module:
        """What is trained and kept."""
        model: nn.Module = self.causal.model
        return model

    @property
    def helpers(self) -> nn.Module:
        """The projections that the losses use."""
        return self.projections

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return planned(self.training, len(self.examples))

    @property
    def bfloat16(self) -> bool:
        """Whether forward passes run in bfloat16."""
        return self.training.precision is Precision.BFLOAT16

    def optimiser(self) -> torch.optim.AdamW:
        """Make AdamW over the student and its projections."""
        body = [p for p in self.student.parameters() if p.requires_grad]
        return optimiser.build(body, [*self.projections.parameters()], self.training.optimizer)

    def begin(self) -> None:
        """Give the projections their first values, the same on every kind of device."""
        for module in self.projections.modules():
            if isinstance(module, nn.Linear):
                like = module.weight
                drawn = nn.Linear(module.in_features, module.out_features, False, dtype=like.dtype)
                with torch.no_grad():
                    like.copy_(drawn.weight)

    def learn(self, step: int) -> Learnt:
        """Add the gradients of a step's answers; each of their tokens counts the same.

        The sums of all micro-batches are divided by the tokens of the whole step, so that the
        gradient does not depend on how the step is split.
        """
        chosen = order.records(
            len(self.examples), self.training.batch_size, step, seed=self.training.seed
        )
        taught = [self.examples[int(place)] for place in chosen]
        on_policy = self.recipe.logits.on_policy if self.recipe.logits else None
        if on_policy is None or not onpolicy.due(step, on_policy.share):
            return self._learn_from(taught)
        own = replace(self, recipe=onpolicy.alone(self.recipe))
        learnt = own._learn_from(self._written(step, taught))  # noqa: SLF001 - its own
        return replace(learnt, told={"onPolicy": True})

    def _written(self, step: int, taught: Sequence[Taught]) -> list[Taught]:
        """Have the student answer a step's prompts."""
        assert self.writing is not None, "made with the recipe"
        seeds = [onpolicy.seed(self.training.seed, step, place) for place in range(len(taught))]
        with causal_pass.precision(self.device, bfloat16=self.bfloat16):
            how = Writing(self.writing, self.vocabulary, self._most())
            return onpolicy.answers(self.causal, taught, seeds, how, self.strategy.world)

    def _learn_from(self, taught: Sequence[Taught]) -> Learnt:
        count = sum(len(one.target) for one in taught)
        sums: dict[str, float] = defaultdict(float)
        passes, world = self.passes(taught), self.strategy.world
        for number, part in enumerate(passes):
            # One that has no answers left only keeps step: the others wait in every layer.
            own = [taught[int(place)] for place in part] or taught[:1]
            share = world.size / count if len(part) else 0.0
            with self.strategy.part(last=number == len(passes) - 1):
                self._learn(self._pad(own), share, sums)
        # The strategy takes the mean over the processes; the sum is wanted.
        parts = {name: value / world.size for name, value in world.summed(sums).items()}
        return Learnt(parts.pop("loss"), parts, count)

    def passes(self, taught: Sequence[Taught]) -> list[Ids]:
        """Deal answers to the processes; return the forward passes of this one.

        Every process has as many, empty ones where its answers need fewer.
        """
        world = self.strategy.world
        lengths = np.array([len(one) for one in taught], dtype=np.int64)
        hands = [share.places for share in dealing.deal(lengths, world.size, None)]
        each = [
            [hand[part] for part in self._cut([taught[int(p)] for p in hand])] for hand in hands
        ]
        most = max(len(passes) for passes in each)
        own = each[world.rank]
        return own + [np.empty(0, dtype=np.int64)] * (most - len(own))

    def parts(self, taught: Sequence[Taught]) -> list[Ids]:
        """Divide answers into forward passes of like length, so that little padding is computed."""
        lengths = np.array([len(one) for one in taught], dtype=np.int64)
        rows = self.training.micro_batch_size or MAX_ROWS
        return encode.micro_batches(lengths, self._most(), rows)

    def _cut(self, taught: Sequence[Taught]) -> list[Ids]:
        """Divide answers into the forward passes of a step."""
        if not self.training.packing:
            return self.parts(taught)
        lengths = np.array([len(one) for one in taught], dtype=np.int64)
        return packing.passes(lengths, self._most(), self.training.micro_batch_size or MAX_ROWS)

    def _most(self) -> int:
        """Tokens of a forward pass."""
        return MAX_TOKENS if self.device.type == "cpu" else MAX_TOKENS_ACCELERATOR

    def score(self) -> float:
        """Mean log-likelihood of the validation's answers, in nats for each token."""
        return -mean_nll(self, self.validation)

    def _pad(self, taught: Sequence[Taught]) -> Batch:
        put = packing.pack if self.training.packing else sequences.pad
        return put(taught, self.causal.tokenizer.pad_token_id, self.device)

    def _learn(self, batch: Batch, share: float, sums: dict[str, float]) -> None:
        """Add the gradients of a pass.

        share: what a token's loss is multiplied by, in the gradients and in the sums.
        """
        of_teacher = self._ask_teacher(batch)

        def loss(student: nn.Module) -> Tensor:
            # What is trained may be a copy.
            mine = replace(self, causal=replace(self.causal, model=student))
            return mine._loss(batch, of_teacher, share, sums)  # noqa: SLF001 - its own

        self.strategy.backward(self.strategy.run(self.student, loss))

    def _loss(
        self, batch: Batch, of_teacher: Seen | None, share: float, sums: dict[str, float]
    ) -> Tensor:
        seen = causal_pass.look(
            self.causal, batch, self.layers.of_student(), bfloat16=self.bfloat16
        )
        total = torch.zeros((), device=self.device)
        told: Told = {}
        if self.recipe.outputs or self.recipe.logits:
            loss = self._of_tokens(batch, of_teacher, told)
            total = total + self._chunked(seen.hidden, loss) * share
        inside = self._of_layers(batch, seen, of_teacher, told)
        if inside is not None:
            total = total + inside * share
        for parts in told.values():
            for name, value in parts.items():
                sums[name] += float(value) * share
        return total

    def _chunked(self, states: Tensor, loss: Callable[[Tensor, int, int], Tensor]) -> Tensor:
        """Sum a loss over tokens in chunks, so that few logits are alive at a time."""
        head = self.causal.model.get_output_embeddings()
        if self.strategy.fleeting:
            return chunks.again(states, loss, self._chunk())
        return chunks.total(states, loss, self._chunk(), list(head.parameters()))

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

    def _chunk(self) -> int:
        return chunks.size(_rows(self.causal), self.device)

    def _of_tokens(
        self, batch: Batch, of_teacher: Seen | None, told: Told
    ) -> Callable[[Tensor, int, int], Tensor]:
        """Return the loss of a chunk of tokens, summed; told: its parts, by its beginning."""

        def loss(rows: Tensor, begin: int, end: int) -> Tensor:
            with causal_pass.precision(self.device, bfloat16=self.bfloat16):
                written = self.causal.logits(rows)
            parts = self._hard(written, batch.labels[begin:end])
            if self.recipe.logits is not None:
                soft = self._soft(written, batch, of_teacher, begin, end).sum()
                alpha = self.recipe.logits.alpha
                parts["divergence"] = soft
                parts["logits"] = (1 - alpha) * parts["hard"] + alpha * soft
            total = self._weighed(parts)
            told[begin] = {name: v.detach() for name, v in (*parts.items(), ("loss", total))}
            return total

        return loss

    def _hard(self, written: Tensor, labels: Tensor) -> dict[str, Tensor]:
        parts: dict[str, Tensor] = {}
        if self.recipe.logits is not None:
            parts["hard"] = tokens.nll(written, labels).sum()
        if self.recipe.outputs is not None:
            smoothing = self.recipe.outputs.label_smoothing
            parts["outputs"] = tokens.nll(written, labels, label_smoothing=smoothing).sum()
        return parts

    def _soft(
        self, written: Tensor, batch: Batch, of_teacher: Seen | None, begin: int, end: int
    ) -> Tensor:
        """Divergence from the teacher, of each token: from the cache, else from itself."""
        asked = self.recipe.logits
        assert asked is not None
        shared = written[:, : self.vocabulary]
        divergence = (asked.divergence, asked.temperature, asked.beta or 0.5)
        if batch.cached is not None:
            cached = batch.cached.rows(begin, end)
            return logits.cached(shared, cached, *divergence)
        assert of_teacher is not None, "checked before the first step"
        assert self.teacher is not None
        bfloat16 = self.bfloat16
        with torch.no_grad(), causal_pass.precision(self.device, bfloat16=bfloat16):
            told = self.teacher.logits(of_teacher.hidden[begin:end])[:, : self.vocabulary]
        return logits.divergence(shared, told, *divergence)

    def _weighed(self, parts: dict[str, Tensor]) -> Tensor:
        total = torch.zeros((), device=self.device)
        if self.recipe.outputs is not None:
            total = total + self.recipe.outputs.weight * parts["outputs"]
        if self.recipe.logits is not None:
            total = total + self.recipe.logits.weight * parts["logits"]
        return total

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


def mean_nll(course: GeneratorCourse, taught: Sequence[Taught]) -> float:
    """Cross-entropy of the student on answers, in nats for each token, without dropout."""
    stride = max(len(taught) // VALIDATION_ROWS, 1)
    chosen = taught[::stride][:VALIDATION_ROWS]

    def summed(student: nn.Module, part: Ids) -> float:
        own, some = replace(course.causal, model=student), [chosen[int(place)] for place in part]
        return float(nll_by_row(own, some, bfloat16=course.bfloat16).sum())

    with evaluating(course.strategy.taught(course.student)):
        total = sum(
            course.strategy.run(course.student, partial(summed, part=part))
            for part in course.parts(chosen)
        )
    return total / sum(len(one.target) for one in chosen)


@torch.no_grad()
def nll_by_row(causal: Causal, taught: Sequence[Taught], *, bfloat16: bool = False) -> Tensor:
    """Cross-entropy of answers in one forward pass, summed over each one's tokens: [answers]."""
    device = causal.model.device
    batch = sequences.pad(taught, causal.tokenizer.pad_token_id, device)
    seen = causal_pass.look(causal, batch, Wanted(), bfloat16=bfloat16)
    size = chunks.size(_rows(causal), device)
    found: list[Tensor] = []
    for begin in range(0, len(seen.hidden), size):
        with causal_pass.precision(device, bfloat16=bfloat16):
            written = causal.logits(seen.hidden[begin : begin + size])
        found.append(tokens.nll(written, batch.labels[begin : begin + size]))
    rows = torch.split(torch.cat(found), [len(one.target) for one in taught])
    return torch.stack([row.sum() for row in rows])


def _rows(causal: Causal) -> int:
    """Count a head's logits; its weight may be elsewhere."""
    return int(causal.model.get_output_embeddings().out_features)
