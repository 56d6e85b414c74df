"""The course of an encoder-decoder student: what each step adds to the gradients, its score."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from distill_api.recipe import QueryTransformRecipe
from distill_api.training import Precision, Training
from torch import Tensor, nn

from distill_trainer.losses import chunks, logits, tokens
from distill_trainer.losses.logits import TopK
from distill_trainer.students import seq2seq
from distill_trainer.students.seq2seq import Seq2Seq
from distill_trainer.training import causal_pass, encode, optimiser, order, sequences
from distill_trainer.training.course import Learnt, planned
from distill_trainer.training.sequences import Ids, Taught

MAX_TOKENS = 2048
"""Tokens of a forward pass on a CPU, read and written, padding included."""
MAX_TOKENS_ACCELERATOR = 32768
MAX_ROWS = 256
VALIDATION_ROWS = 512
"""Texts that a validation looks at, at most."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What is read and written, as tensors, padding behind it."""

    source: Tensor
    """int64 [rows, read]."""
    mask: Tensor
    """int64 [rows, read]: 1 on real tokens."""
    before: Tensor
    """int64 [rows, written]: the decoder's input, the start token and all targets but the last."""
    learnt: Tensor
    """bool [rows, written]: places that a target stands at; padding is told by place."""
    labels: Tensor
    """int64 [tokens]: the targets, row after row."""
    cached: TopK | None
    """The teacher's distributions, row after row."""


def pad(taught: Sequence[Taught], model: Seq2Seq) -> Batch:
    """Put texts in tensors on the model's device; a prompt is what the encoder reads."""
    device, filler = model.model.device, model.tokenizer.pad_token_id
    source, mask = seq2seq.padded([one.prompt.tolist() for one in taught], filler, device)
    before, learnt = seq2seq.padded(
        [[model.start, *one.target[:-1].tolist()] for one in taught], filler, device
    )
    labels = np.concatenate([one.target for one in taught])
    cached = [one.cached for one in taught if one.cached is not None]
    return Batch(
        source=source,
        mask=mask,
        before=before,
        learnt=learnt.bool(),
        labels=torch.from_numpy(labels).to(device),
        cached=sequences.top_k(cached, device) if len(cached) == len(taught) else None,
    )


@dataclass(frozen=True, slots=True)
class Seq2SeqCourse:
    """An encoder-decoder student, what it learns from, and how long; a Course of the loop."""

    recipe: QueryTransformRecipe
    training: Training
    seq2seq: Seq2Seq
    examples: Sequence[Taught]
    validation: Sequence[Taught]
    device: torch.device
    vocabulary: int
    """Tokens that both tokenizers know; rows of the head beyond are padding."""
    helpers: nn.Module = field(default_factory=nn.ModuleDict)
    """Nothing is trained beside the student."""

    @property
    def student(self) -> nn.Module:
        """What is trained and kept."""
        model: nn.Module = self.seq2seq.model
        return model

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return planned(self.training, len(self.examples))

    @property
    def bfloat16(self) -> bool:
        """Whether forward passes run in bfloat16."""
        return self.training.precision is Precision.BFLOAT16

    def optimiser(self) -> torch.optim.AdamW:
        """Make AdamW over the student."""
        body = [p for p in self.student.parameters() if p.requires_grad]
        return optimiser.build(body, [], self.training.optimizer)

    def begin(self) -> None:
        """Nothing here starts from chance."""

    def learn(self, step: int) -> Learnt:
        """Add the gradients of a step's texts; each of their tokens counts the same.

        The sums of all micro-batches are divided by the tokens of the whole step, so that the
        gradient does not depend on how the step is split.
        """
        chosen = order.records(
            len(self.examples), self.training.batch_size, step, seed=self.training.seed
        )
        taught = [self.examples[int(place)] for place in chosen]
        count = sum(len(one.target) for one in taught)
        sums: dict[str, float] = defaultdict(float)
        for part in self.parts(taught):
            batch = pad([taught[int(place)] for place in part], self.seq2seq)
            torch.autograd.backward(self._loss(batch, sums) / count)
        parts = {name: value / count for name, value in sums.items()}
        return Learnt(parts.pop("loss"), parts, count)

    def parts(self, taught: Sequence[Taught]) -> list[Ids]:
        """Divide texts into forward passes of like length, so that little padding is computed."""
        on_cpu = self.device.type == "cpu"
        lengths = np.array([len(one) for one in taught], dtype=np.int64)
        rows = self.training.micro_batch_size or MAX_ROWS
        most = MAX_TOKENS if on_cpu else MAX_TOKENS_ACCELERATOR
        return encode.micro_batches(lengths, most, rows)

    def score(self) -> float:
        """Mean log-likelihood of the validation's texts, in nats for each token."""
        stride = max(len(self.validation) // VALIDATION_ROWS, 1)
        chosen = self.validation[::stride][:VALIDATION_ROWS]
        was = self.student.training
        self.student.eval()
        try:
            total = sum(self._nll([chosen[int(place)] for place in part])
                        for part in self.parts(chosen))  # fmt: skip
        finally:
            self.student.train(was)
        return -total / sum(len(one.target) for one in chosen)

    @torch.no_grad()
    def _nll(self, taught: Sequence[Taught]) -> float:
        """Cross-entropy of texts in one forward pass, summed over their tokens."""
        batch = pad(taught, self.seq2seq)
        hidden = self._states(batch)
        size = self._chunk()
        total = 0.0
        for begin in range(0, len(hidden), size):
            with causal_pass.precision(self.device, bfloat16=self.bfloat16):
                written = self.seq2seq.logits(hidden[begin : begin + size])
            total += float(tokens.nll(written, batch.labels[begin : begin + size]).sum())
        return total

    def _states(self, batch: Batch) -> Tensor:
        """Return the decoder's states at the places that are learnt: [tokens, width]."""
        with causal_pass.precision(self.device, bfloat16=self.bfloat16):
            states = self.seq2seq.states(batch.source, batch.mask, batch.before)
        return states[batch.learnt]

    def _chunk(self) -> int:
        head: Tensor = self.seq2seq.model.get_output_embeddings().weight
        return chunks.size(head.shape[0], self.device)

    def _loss(self, batch: Batch, sums: dict[str, float]) -> Tensor:
        """Weighted loss of a pass, summed over its tokens; few logits are alive at a time."""

        def loss(rows: Tensor, begin: int, end: int) -> Tensor:
            with causal_pass.precision(self.device, bfloat16=self.bfloat16):
                written = self.seq2seq.logits(rows)
            parts, total = self._of_tokens(written, batch, begin, end)
            for name, value in (*parts.items(), ("loss", total)):
                sums[name] += float(value.detach())
            return total

        head = self.seq2seq.model.get_output_embeddings()
        return chunks.total(self._states(batch), loss, self._chunk(), list(head.parameters()))

    def _of_tokens(
        self, written: Tensor, batch: Batch, begin: int, end: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return each loss of some tokens' logits, summed, and their weighted sum."""
        labels = batch.labels[begin:end]
        parts: dict[str, Tensor] = {}
        total = torch.zeros((), device=self.device)
        if (asked := self.recipe.outputs) is not None:
            nll = tokens.nll(written, labels, label_smoothing=asked.label_smoothing)
            parts["outputs"] = nll.sum()
            total = total + asked.weight * parts["outputs"]
        if (asked_of := self.recipe.logits) is not None:
            assert batch.cached is not None, "checked before the first step"
            shared = written[:, : self.vocabulary]
            cached = batch.cached.rows(begin, end)
            soft = logits.cached(shared, cached, asked_of.divergence, asked_of.temperature)
            parts["hard"], parts["divergence"] = tokens.nll(written, labels).sum(), soft.sum()
            alpha = asked_of.alpha
            parts["logits"] = (1 - alpha) * parts["hard"] + alpha * parts["divergence"]
            total = total + asked_of.weight * parts["logits"]
        return parts, total
