"""Texts to embeddings in micro-batches of like length, with and without gradient.

Texts of one micro-batch have nearly the same length, so almost no padding is computed. The order
of micro-batches is a pure function of the lengths; every text is embedded exactly once.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.gradcache import RandContext
from torch import Tensor

from distill_trainer.training.tokens import Tokens

Ids = NDArray[np.int64]

MAX_TOKENS = 1024
"""Tokens of a micro-batch, padding included. With 4096 a third of what is computed for a batch of
64 short texts was padding, with 1024 a seventh, and the matrices are still large enough for full
speed; below 768 the calls themselves begin to cost."""
MAX_TOKENS_ACCELERATOR = 65536
MAX_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Encoder:
    """A student with what is needed to run it on token ids."""

    student: SentenceTransformer
    tokens: Tokens
    device: torch.device
    bfloat16: bool = False
    """Run the forward pass in bfloat16; weights and losses stay in float32."""
    max_tokens: int = MAX_TOKENS

    def forward(self, texts: Ids) -> Tensor:
        """Embed a few texts in one pass: float32 [texts, width]."""
        with self._precision():
            features = self.student(self.tokens.padded(texts, self.device))
        embeddings: Tensor = features["sentence_embedding"].float()
        return embeddings

    def embed(self, texts: Ids, max_rows: int = MAX_ROWS) -> Tensor:
        """Embed many texts with gradient, all micro-batches alive at once: [texts, width]."""
        parts = micro_batches(self.tokens.lengths[texts], self.max_tokens, max_rows)
        embedded = torch.cat([self.forward(texts[part]) for part in parts])
        return embedded.index_select(0, _inverse(parts).to(self.device))

    @torch.no_grad()
    def evaluate(self, texts: Ids) -> Tensor:
        """Embed many texts as the finished student would, without dropout: [texts, width]."""
        training = self.student.training
        self.student.eval()
        try:
            return self.embed(texts)
        finally:
            self.student.train(training)

    def _precision(self) -> AbstractContextManager[object]:
        if not self.bfloat16:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def micro_batches(lengths: Ids, max_tokens: int, max_rows: int) -> list[Ids]:
    """Cut texts into parts of like length: positions into lengths, longest first.

    Rows times longest length is at most max_tokens, unless one text alone is longer.
    """
    by_length = np.argsort(-lengths, kind="stable")
    parts: list[Ids] = []
    begin = 0
    while begin < len(by_length):
        longest = max(int(lengths[by_length[begin]]), 1)
        rows = min(max(max_tokens // longest, 1), max_rows)
        parts.append(by_length[begin : begin + rows])
        begin += rows
    return parts


def backward(
    encoder: Encoder, texts: Ids, loss: Callable[[Tensor], Tensor], max_rows: int | None
) -> None:
    """Add the gradient of loss(embeddings of texts) to the student's parameters.

    max_rows None: one pass, the activations of all texts in memory at once. Otherwise by gradient
    caching (Gao et al. 2021, arXiv:2101.06983): each micro-batch of at most max_rows texts is
    embedded twice with the same dropout, and only one is in memory. Both give the same gradient,
    contrastive losses over the whole batch included.
    """
    if max_rows is None:
        torch.autograd.backward(loss(encoder.embed(texts)))
        return
    parts = micro_batches(encoder.tokens.lengths[texts], encoder.max_tokens, max_rows)
    states: list[RandContext] = []
    values: list[Tensor] = []
    with torch.no_grad():
        for part in parts:
            states.append(RandContext())
            values.append(encoder.forward(texts[part]))
    leaf = torch.cat(values).requires_grad_()
    torch.autograd.backward(loss(leaf.index_select(0, _inverse(parts).to(encoder.device))))
    assert leaf.grad is not None
    for part, state, gradient in zip(
        parts, states, torch.split(leaf.grad, [len(part) for part in parts]), strict=True
    ):
        with state:
            again = encoder.forward(texts[part])
        torch.autograd.backward(again, gradient)


def _inverse(parts: list[Ids]) -> Tensor:
    """Where the row of each text ended up after the parts were put one after the other."""
    return torch.from_numpy(np.argsort(np.concatenate(parts)))
