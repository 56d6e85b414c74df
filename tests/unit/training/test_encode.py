"""Micro-batches: what they hold, and that they change neither embeddings nor gradients."""

from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from distill_trainer.training import encode, tokens
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from torch import Tensor

TEXTS = [" ".join(tiny_models.WORDS[i : i + 1 + 3 * (i % 7)]) for i in range(20)]
ALL = np.arange(len(TEXTS))


def encoder(student: SentenceTransformer, max_tokens: int) -> encode.Encoder:
    made = tokens.tokenise(student, TEXTS, [""] * len(TEXTS))
    return encode.Encoder(student, made, torch.device("cpu"), max_tokens=max_tokens)


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=200),
    max_tokens=st.integers(1, 5000),
    max_rows=st.integers(1, 64),
)
def test_micro_batches_hold_each_text_once_within_their_limits(
    lengths: list[int], max_tokens: int, max_rows: int
):
    known = np.array(lengths)
    parts = encode.micro_batches(known, max_tokens, max_rows)
    assert sorted(np.concatenate(parts)) == list(range(len(lengths)))
    for part in parts:
        assert len(part) <= max_rows
        assert len(part) * known[part].max() <= max_tokens or len(part) == 1


def test_embeddings_are_those_of_the_served_student():
    student = tiny_models.teacher()
    found = encoder(student, 64).evaluate(ALL)
    served = student.encode(TEXTS, convert_to_tensor=True, show_progress_bar=False)
    torch.testing.assert_close(found, served, rtol=1e-5, atol=1e-6)


def test_prompts_are_part_of_the_tokens():
    student = tiny_models.teacher()
    with_prompt = tokens.tokenise(student, ["b1"], ["a1 "])
    assert with_prompt.ids.tolist() == tokens.tokenise(student, ["a1 b1"], [""]).ids.tolist()
    assert len(with_prompt.ids) == 4


def loss_of(embeddings: Tensor) -> Tensor:
    """Couple all rows, as contrastive losses do."""
    return torch.logsumexp(embeddings @ embeddings.roll(1, 0).T / 0.05, dim=1).mean()


def gradients(max_rows: int | None, *, dropout: float, max_tokens: int = 10_000) -> list[Tensor]:
    student = tiny_models.teacher(dropout=dropout)
    student.train()
    torch.manual_seed(5)
    encode.backward(encoder(student, max_tokens), ALL, loss_of, max_rows)
    return [p.grad for p in student.parameters() if p.grad is not None]


@pytest.mark.parametrize("max_rows", [1, 3, 7, 19, 20, 50])
def test_gradient_caching_changes_no_gradient(max_rows: int):
    whole, cached = gradients(None, dropout=0.0), gradients(max_rows, dropout=0.0)
    assert len(whole) == len(cached) > 30
    for one, other in zip(whole, cached, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
        assert one.isfinite().all()
    assert sum(float(one.abs().sum()) for one in whole) > 1


def test_gradient_caching_repeats_the_dropout_of_the_first_pass():
    # One micro-batch either way, so that both draw the same masks.
    whole, cached = gradients(None, dropout=0.3), gradients(50, dropout=0.3)
    without = gradients(None, dropout=0.0)
    assert any(not torch.allclose(one, other) for one, other in zip(whole, without, strict=True))
    for one, other in zip(whole, cached, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_sorting_by_length_changes_no_gradient():
    whole, sorted_parts = gradients(None, dropout=0.0), gradients(None, dropout=0.0, max_tokens=30)
    for one, other in zip(whole, sorted_parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_tokens_survive_their_file(tmp_path: Path):
    made = tokens.tokenise(tiny_models.teacher(), TEXTS, [""] * len(TEXTS))
    tokens.save(made, tmp_path / "tokens.npz")
    back = tokens.load(tmp_path / "tokens.npz")
    assert back.ids.tolist() == made.ids.tolist()
    assert back.starts.tolist() == made.starts.tolist()
    assert list(tmp_path.iterdir()) == [tmp_path / "tokens.npz"]
