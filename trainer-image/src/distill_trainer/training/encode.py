"""Texts to embeddings in micro-batches of like length, with and without gradient.

Texts of one micro-batch have nearly the same length, so almost no padding is computed. The order
of micro-batches is a pure function of the lengths; every text is embedded exactly once.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from distill_api.training import Precision, Training
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.gradcache import RandContext
from torch import Tensor, nn

from distill_trainer.distributed import dealing
from distill_trainer.distributed.strategy import Alone, Strategy, evaluating
from distill_trainer.losses.reduction import wide
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
    strategy: Strategy = field(default_factory=Alone)
    """How several processes train the student."""

    def forward(self, texts: Ids) -> Tensor:
        """Embed a few texts in one pass: float32 [texts, width]."""
        features = self.tokens.padded(texts, self.device)
        return self.run(lambda student: wide(student(features)["sentence_embedding"]))

    def embed(self, texts: Ids, max_rows: int = MAX_ROWS) -> Tensor:
        """Embed many texts with gradient, all micro-batches alive at once: [texts, width]."""
        parts = micro_batches(self.tokens.lengths[texts], self.max_tokens, max_rows)
        embedded = torch.cat([self.forward(texts[part]) for part in parts])
        return embedded.index_select(0, _inverse(parts).to(self.device))

    def evaluate(self, texts: Ids) -> Tensor:
        """Embed many texts as the finished student would, without dropout: [texts, width]."""
        with evaluating(self.strategy.taught(self.student)):
            return self.embed(texts)

    def run(self, forward: Callable[[nn.Module], Tensor]) -> Tensor:
        """Call forward with what is trained, in the precision that was asked for."""

        def precisely(student: nn.Module) -> Tensor:
            # Within the call: DeepSpeed switches off what was switched on around it.
            with self._precision():
                return forward(student)

        return self.strategy.run(self.student, precisely)

    def _precision(self) -> AbstractContextManager[object]:
        if not self.bfloat16:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def made[E: Encoder](
    kind: type[E], student: nn.Module, tokens: Tokens, how: tuple[Training, torch.device]
) -> E:
    """Make an encoder of a kind that runs a student as a training asks for, on a device."""
    training, device = how
    return kind(
        student,
        tokens,
        device,
        bfloat16=training.precision is Precision.BFLOAT16,
        max_tokens=MAX_TOKENS if device.type == "cpu" else MAX_TOKENS_ACCELERATOR,
    )


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

    loss: a scalar of embeddings [texts, width].
    max_rows None: one pass, the activations of all texts in memory at once. Otherwise by gradient
    caching (Gao et al. 2021, arXiv:2101.06983): each micro-batch of at most max_rows texts is
    embedded twice with the same dropout, and only one is in memory. Both give the same gradient,
    contrastive losses over the whole batch included.
    """
    if encoder.strategy.world.size > 1 or not isinstance(encoder.strategy, Alone):
        _backward_together(encoder, texts, loss, max_rows)
        return
    if max_rows is None:
        torch.autograd.backward(loss(encoder.embed(texts)))
        return
    parts = micro_batches(encoder.tokens.lengths[texts], encoder.max_tokens, max_rows)
    states: list[RandContext] = []
    values: list[Tensor] = []
    with torch.no_grad():
        for part in parts:
            states.append(_chance(encoder.device))
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


def _backward_together(
    encoder: Encoder, texts: Ids, loss: Callable[[Tensor], Tensor], max_rows: int | None
) -> None:
    """Do the same where each process embeds its part of the texts.

    Every process computes the loss from all embeddings, negatives of the other processes
    included, and needs only the gradient of its own rows: nothing but embeddings and the
    gradients of weights travels. One pass is not repeated; of several only the values are kept.
    """
    strategy, world = encoder.strategy, encoder.strategy.world
    shares = dealing.deal(encoder.tokens.lengths[texts], world.size, max_rows)
    own = shares[world.rank]
    passes = [texts[own.places[part]] for part in own.parts]
    counts = [len(share.places) for share in shares]
    order = torch.from_numpy(dealing.order(shares)).to(encoder.device)

    def gradient(values: Tensor) -> Tensor:
        leaf = world.rows(values[: counts[world.rank]], counts).requires_grad_()
        torch.autograd.backward(loss(leaf.index_select(0, order)))
        assert leaf.grad is not None
        # The strategy takes the mean over the processes; the sum is wanted.
        return torch.split(leaf.grad, counts)[world.rank] * world.size

    if len(passes) == 1:
        with strategy.part(last=True):
            output = encoder.forward(_some(passes[0], texts))
            strategy.backward(output, _padded(gradient(output), output))
        return
    states: list[RandContext] = []
    values: list[Tensor] = []
    with torch.no_grad():
        for one in passes:
            states.append(_chance(encoder.device))
            values.append(encoder.forward(_some(one, texts))[: len(one)])
    slices = torch.split(gradient(torch.cat(values)), [len(one) for one in passes])
    for number, (one, state, part) in enumerate(zip(passes, states, slices, strict=True)):
        with strategy.part(last=number == len(passes) - 1):
            with state:
                output = encoder.forward(_some(one, texts))
            strategy.backward(output, _padded(part, output))


def _chance(device: torch.device) -> RandContext:
    """Take down the random states from which dropout draws: the device's own, too."""
    return RandContext(torch.empty(0, device=device))


def _some(chosen: Ids, texts: Ids) -> Ids:
    """Embed a text all the same where a pass has none: the others wait in every layer."""
    return chosen if len(chosen) else texts[:1]


def _padded(gradient: Tensor, output: Tensor) -> Tensor:
    """Gradient of a pass; zero where it only keeps step."""
    return gradient if len(gradient) else torch.zeros_like(output)


def _inverse(parts: list[Ids]) -> Tensor:
    """Where the row of each text ended up after the parts were put one after the other."""
    return torch.from_numpy(np.argsort(np.concatenate(parts)))
