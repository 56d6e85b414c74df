"""The course of an encoder-decoder student: what each step adds to the gradients, its score."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from distill_trainer.losses.logits import TopK
from distill_trainer.students import seq2seq
from distill_trainer.students.seq2seq import Seq2Seq
from distill_trainer.training import causal_pass, sequences, text_course
from distill_trainer.training.sequences import Ids, Taught
from distill_trainer.training.text_course import TextCourse, Told


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
class Seq2SeqCourse(TextCourse[Seq2Seq]):
    """An encoder-decoder student, what it learns from, and how long; a Course of the loop."""

    @property
    def helpers(self) -> nn.Module:
        """Nothing is trained beside the student."""
        return nn.Module()

    def begin(self) -> None:
        """Nothing here starts from chance."""

    def cut(self, taught: Sequence[Taught]) -> list[Ids]:
        """Divide texts into the forward passes of a step."""
        return self.parts(taught)

    def nll(self, taught: Sequence[Taught]) -> Tensor:
        """Cross-entropy of texts in one forward pass, summed over tokens: [texts]."""
        batch = pad(taught, self.writer)
        with torch.no_grad():
            states = self._states(batch)
        found = text_course.nll(self.writer, states, batch.labels, bfloat16=self.bfloat16)
        return text_course.by_text(found, taught)

    def loss_of(
        self, taught: Sequence[Taught], share: float, sums: dict[str, float]
    ) -> Callable[[Self], Tensor]:
        """Return the loss of a pass; few of its logits are alive at a time."""
        batch = pad(taught, self.writer)
        return lambda course: course._loss(batch, share, sums)  # noqa: SLF001 - its own

    def _states(self, batch: Batch) -> Tensor:
        """Return the decoder's states at the places that are learnt: [tokens, width]."""
        with causal_pass.precision(self.device, bfloat16=self.bfloat16):
            states = self.writer.states(batch.source, batch.mask, batch.before)
        return states[batch.learnt]

    def _loss(self, batch: Batch, share: float, sums: dict[str, float]) -> Tensor:
        told: Told = {}
        soft = self.from_cache(batch.cached)
        total = self.of_tokens(self._states(batch), batch.labels, soft, told) * share
        text_course.add(sums, told, share)
        return total
