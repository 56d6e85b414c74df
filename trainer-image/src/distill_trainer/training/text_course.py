"""The course of a student that writes text: what its steps are made of, whatever its kind.

Each token of a step counts the same. The sums of all forward passes are divided by the tokens of
the whole step, so that the gradient depends on no split, into micro-batches or over processes.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, Self

import numpy as np
import torch
from distill_api.recipe import Divergence, GeneratorRecipe
from distill_api.training import Precision, Training
from torch import Tensor, nn
from transformers import PreTrainedModel

from distill_trainer.distributed import dealing
from distill_trainer.distributed.strategy import Alone, Strategy, evaluating
from distill_trainer.losses import chunks, logits, tokens
from distill_trainer.losses.logits import TopK
from distill_trainer.training import causal_pass, encode, optimiser, order
from distill_trainer.training.course import Learnt, planned
from distill_trainer.training.sequences import Ids, Taught

MAX_TOKENS = 2048
"""Tokens of a forward pass on a CPU, read and written, padding included."""
MAX_TOKENS_ACCELERATOR = 32768
MAX_ROWS = 256
VALIDATION_ROWS = 512
"""Texts that a validation looks at, at most."""


type Soft = Callable[[Tensor, int, int], Tensor]
"""Divergence of each token, [tokens], from logits [tokens, shared vocabulary] and where they begin
and end in the pass."""
type Told = dict[int, dict[str, Tensor]]
"""Sums of losses by the first token of their chunk, as a chunk may be computed twice; numbers only
when all are computed, as an accelerator would else be waited for in every chunk."""


class Writer(Protocol):
    """A language model and its tokenizer."""

    @property
    def model(self) -> PreTrainedModel:
        """Its weights."""
        ...

    @property
    def tokenizer(self) -> Any:
        """What makes its token ids."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of states [..., width]."""
        ...


@dataclass(frozen=True, slots=True)
class TextCourse[W: Writer](ABC):
    """A student that writes, what it learns from, and how long; a Course of the loop."""

    recipe: GeneratorRecipe
    training: Training
    writer: W
    """The student with its tokenizer."""
    examples: Sequence[Taught]
    validation: Sequence[Taught]
    device: torch.device
    vocabulary: int
    """Tokens that both tokenizers know; rows of the heads beyond are padding."""
    strategy: Strategy = field(default_factory=Alone, kw_only=True)
    """How several processes train the student."""

    @property
    @abstractmethod
    def helpers(self) -> nn.Module:
        """What is trained beside the student and only serves its losses."""

    @abstractmethod
    def begin(self) -> None:
        """Give the helpers their first values."""

    @abstractmethod
    def cut(self, taught: Sequence[Taught]) -> list[Ids]:
        """Divide texts into the forward passes of a step."""

    @abstractmethod
    def loss_of(
        self, taught: Sequence[Taught], share: float, sums: dict[str, float]
    ) -> Callable[[Self], Tensor]:
        """Return the loss of a pass, a function of the course whose student is computed with.

        share: what a token's loss is multiplied by, in the gradients and in the sums.
        """

    @abstractmethod
    def nll(self, taught: Sequence[Taught]) -> Tensor:
        """Cross-entropy of texts in one forward pass, without gradient, of each one: [texts]."""

    def shared(self, strategy: Strategy) -> Self:
        """Return the course for one of several processes that train the student together."""
        return replace(self, strategy=strategy)

    def of(self, model: nn.Module) -> Self:
        """Return the same course of another model: a copy that is trained, a merged one."""
        # The two kinds of writers are dataclasses; no protocol says so.
        writer = replace(self.writer, model=model)  # type: ignore[type-var]
        return replace(self, writer=writer)

    @property
    def student(self) -> nn.Module:
        """What is trained and kept."""
        model: nn.Module = self.writer.model
        return model

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return planned(self.training, len(self.examples))

    @property
    def bfloat16(self) -> bool:
        """Whether forward passes run in bfloat16."""
        return self.training.precision is Precision.BFLOAT16

    @property
    def max_tokens(self) -> int:
        """Tokens of a forward pass, padding included."""
        return MAX_TOKENS if self.device.type == "cpu" else MAX_TOKENS_ACCELERATOR

    @property
    def max_rows(self) -> int:
        """Texts of a forward pass."""
        return self.training.micro_batch_size or MAX_ROWS

    def optimiser(self) -> torch.optim.AdamW:
        """Make AdamW over the student and the helpers."""
        body = [p for p in self.student.parameters() if p.requires_grad]
        return optimiser.build(body, [*self.helpers.parameters()], self.training.optimizer)

    def learn(self, step: int) -> Learnt:
        """Add the gradients of a step's texts."""
        return self.learn_from(self.chosen(step))

    def chosen(self, step: int) -> list[Taught]:
        """Return what a step teaches."""
        size, seed = self.training.batch_size, self.training.seed
        places = order.records(len(self.examples), size, step, seed=seed)
        return [self.examples[int(place)] for place in places]

    def learn_from(self, taught: Sequence[Taught]) -> Learnt:
        """Add the gradients of some texts, shared with the other processes."""
        count = sum(len(one.target) for one in taught)
        sums: dict[str, float] = defaultdict(float)
        passes, world = self.passes(taught), self.strategy.world
        for number, part in enumerate(passes):
            # One that has no texts left only keeps step: the others wait in every layer.
            own = [taught[int(place)] for place in part] or taught[:1]
            share = world.size / count if len(part) else 0.0
            with self.strategy.part(last=number == len(passes) - 1):
                self._add(own, share, sums)
        # The strategy takes the mean over the processes; the sum is wanted.
        parts = {name: value / world.size for name, value in world.summed(sums).items()}
        return Learnt(parts.pop("loss"), parts, count)

    def _add(self, taught: Sequence[Taught], share: float, sums: dict[str, float]) -> None:
        loss = self.loss_of(taught, share, sums)
        # What is trained may be a copy.
        self.strategy.backward(self.strategy.run(self.student, lambda model: loss(self.of(model))))

    def passes(self, taught: Sequence[Taught]) -> list[Ids]:
        """Deal texts to the processes; return the forward passes of this one.

        Every process has as many, empty ones where its texts need fewer.
        """
        world = self.strategy.world
        hands = [share.places for share in dealing.deal(lengths(taught), world.size, None)]
        each = [[hand[part] for part in self.cut([taught[int(p)] for p in hand])] for hand in hands]
        most = max(len(passes) for passes in each)
        own = each[world.rank]
        return own + [np.empty(0, dtype=np.int64)] * (most - len(own))

    def parts(self, taught: Sequence[Taught]) -> list[Ids]:
        """Divide texts into forward passes of like length, so that little padding is computed."""
        return encode.micro_batches(lengths(taught), self.max_tokens, self.max_rows)

    def score(self) -> float:
        """Mean log-likelihood of the validation's texts, in nats for each token."""
        stride = max(len(self.validation) // VALIDATION_ROWS, 1)
        chosen = self.validation[::stride][:VALIDATION_ROWS]

        def summed(model: nn.Module, part: Ids) -> float:
            return float(self.of(model).nll([chosen[int(place)] for place in part]).sum())

        with evaluating(self.strategy.taught(self.student)):
            total = sum(
                self.strategy.run(self.student, partial(summed, part=part))
                for part in self.parts(chosen)
            )
        return -total / sum(len(one.target) for one in chosen)

    @property
    def softened(self) -> tuple[Divergence, float, float]:
        """What is measured between the two distributions: kind, temperature, beta."""
        asked = self.recipe.logits
        assert asked is not None, "asked for by whoever learns from distributions"
        return asked.divergence, asked.temperature, asked.beta or 0.5

    def from_cache(self, cached: TopK | None) -> Soft:
        """Return the divergence from what the teacher's cache holds of a pass."""

        def soft(shared: Tensor, begin: int, end: int) -> Tensor:
            assert cached is not None, "checked before the first step"
            return logits.cached(shared, cached.rows(begin, end), *self.softened)

        return soft

    def of_tokens(self, states: Tensor, labels: Tensor, soft: Soft, told: Told) -> Tensor:
        """Sum the losses of a pass over its tokens; few logits are alive at a time.

        states: [tokens, width], what the head reads. labels: int64 [tokens].
        """

        def loss(rows: Tensor, begin: int, end: int) -> Tensor:
            with causal_pass.precision(self.device, bfloat16=self.bfloat16):
                written = self.writer.logits(rows)
            parts = self._parts(written, labels[begin:end])
            if self.recipe.logits is not None:
                alpha, shared = self.recipe.logits.alpha, written[:, : self.vocabulary]
                parts["divergence"] = soft(shared, begin, end).sum()
                parts["logits"] = (1 - alpha) * parts["hard"] + alpha * parts["divergence"]
            total = self._weighed(parts)
            told[begin] = {name: v.detach() for name, v in (*parts.items(), ("loss", total))}
            return total

        head, size = self.writer.model.get_output_embeddings(), chunk(self.writer)
        if self.strategy.fleeting:
            return chunks.again(states, loss, size)
        return chunks.total(states, loss, size, list(head.parameters()))

    def _parts(self, written: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return what the teacher's texts alone say of some logits, summed."""
        parts: dict[str, Tensor] = {}
        if self.recipe.logits is not None:
            parts["hard"] = tokens.nll(written, labels).sum()
        if self.recipe.outputs is not None:
            smoothing = self.recipe.outputs.label_smoothing
            parts["outputs"] = tokens.nll(written, labels, label_smoothing=smoothing).sum()
        return parts

    def _weighed(self, parts: Mapping[str, Tensor]) -> Tensor:
        total = torch.zeros((), device=self.device)
        if self.recipe.outputs is not None:
            total = total + self.recipe.outputs.weight * parts["outputs"]
        if self.recipe.logits is not None:
            total = total + self.recipe.logits.weight * parts["logits"]
        return total


def add(sums: dict[str, float], told: Told, share: float) -> None:
    """Add what the chunks of a pass told to the sums of a step."""
    for parts in told.values():
        for name, value in parts.items():
            sums[name] += float(value) * share


def lengths(taught: Sequence[Taught]) -> Ids:
    """Count the tokens of texts: [texts]."""
    return np.array([len(one) for one in taught], dtype=np.int64)


def chunk(writer: Writer) -> int:
    """Return how many tokens' logits are alive at a time; a head's weight may be elsewhere."""
    rows = int(writer.model.get_output_embeddings().out_features)
    return chunks.size(rows, writer.model.device)


@torch.no_grad()
def nll(writer: Writer, states: Tensor, labels: Tensor, *, bfloat16: bool) -> Tensor:
    """Cross-entropy of labels [tokens] after states [tokens, width]: [tokens]."""
    size = chunk(writer)
    found: list[Tensor] = []
    for begin in range(0, len(states), size):
        with causal_pass.precision(states.device, bfloat16=bfloat16):
            written = writer.logits(states[begin : begin + size])
        found.append(tokens.nll(written, labels[begin : begin + size]))
    return torch.cat(found)


def by_text(per_token: Tensor, taught: Sequence[Taught]) -> Tensor:
    """Sum what each token has over each text: [texts]."""
    rows = torch.split(per_token, [len(one.target) for one in taught])
    return torch.stack([row.sum() for row in rows])
