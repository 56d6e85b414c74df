"""Chunks keep the memory of a loss on logits far below that of all logits at once."""

from collections.abc import Callable

import pytest
import torch
from distill_api.recipe import Divergence
from distill_trainer.losses import chunks, logits, tokens
from distill_trainer.losses.logits import TopK
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

TOKENS, WIDTH, VOCABULARY, TOP = 2048, 8, 4096, 16
WHOLE = 4 * TOKENS * VOCABULARY
"""Bytes of all logits in float32: what is to exist never, let alone twice."""


def peak(work: Callable[[], object]) -> int:
    """Return the bytes that were allocated at once at most, beside those from before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        work()
    events = sorted(
        (event for event in watched.profiler.kineto_results.events() if event.name() == "[memory]"),
        key=lambda event: event.start_ns(),
    )
    held = most = 0
    for event in events:
        held += event.nbytes()
        most = max(most, held)
    return most


def cached() -> TopK:
    """Make a cache of equal probabilities, half of the mass in the tail."""
    ids = torch.arange(TOP).expand(TOKENS, TOP).contiguous()
    logprobs = torch.full((TOKENS, TOP), 0.5 / TOP).log()
    return TopK(ids, logprobs, torch.ones_like(ids, dtype=torch.bool), torch.full((TOKENS,), -0.7))


def whole_and_chunked() -> tuple[Callable[[], None], Callable[[], None]]:
    """Return the same step of learning from a cache, with all logits at once and in chunks."""
    head, cache = nn.Linear(WIDTH, VOCABULARY, bias=False), cached()
    labels = torch.zeros(TOKENS, dtype=torch.long)
    hidden = torch.randn(TOKENS, WIDTH, generator=torch.Generator().manual_seed(0))

    def loss(rows: Tensor, begin: int, end: int) -> Tensor:
        written = head(rows)
        soft = logits.cached(written, cache.rows(begin, end), Divergence.FORWARD_KL, 2.0).sum()
        return soft + tokens.nll(written, labels[begin:end]).sum()

    def whole() -> None:
        torch.autograd.backward(loss(hidden.clone().requires_grad_(), 0, TOKENS))

    def chunked() -> None:
        states = hidden.clone().requires_grad_()
        torch.autograd.backward(chunks.total(states, loss, 64, [head.weight]))

    return whole, chunked


def test_the_logits_of_a_batch_never_exist_at_once():
    whole, chunked = whole_and_chunked()
    naive, found = peak(whole), peak(chunked)
    # The measure sees what chunks avoid: several copies of all logits.
    assert naive > 2 * WHOLE
    assert found < WHOLE / 4
    assert found == pytest.approx(naive * 64 / TOKENS, abs=WHOLE / 8)
