"""Margin-MSE: minimum, a value by hand, masks, chunks, the oracle."""

import pytest
import torch
from distill_trainer.losses import ranking
from distill_trainer.losses.reduction import masked_mean
from sentence_transformers.sentence_transformer.losses import MarginMSELoss
from sentence_transformers.util import pairwise_cos_sim
from torch import Tensor

ALL = torch.ones(2, 3, dtype=torch.bool)
POSITIVE = torch.tensor([[0.9], [0.5]])
NEGATIVE = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def test_a_value_derived_by_hand():
    # The student's margins are all 0; the teacher's are .8 .7 .6 and .1 0 -.1.
    flat = torch.zeros(2, 1), torch.zeros(2, 3)
    found = ranking.margin_mse(*flat, POSITIVE, NEGATIVE, ALL)
    assert found.tolist() == pytest.approx([(0.64 + 0.49 + 0.36) / 3, (0.01 + 0 + 0.01) / 3])


def test_equal_margins_have_no_loss_whatever_the_level():
    found = ranking.margin_mse(POSITIVE + 7, NEGATIVE + 7, POSITIVE, NEGATIVE, ALL)
    assert found.abs().max() < 1e-10


def test_masked_negatives_change_neither_value_nor_gradient():
    positive, negative = random(4, 1, seed=1), random(4, 3, seed=2)
    teacher = random(4, 1, seed=3).detach(), random(4, 3, seed=4).detach()
    keep = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]]).bool()
    broken = torch.where(keep, teacher[1], torch.tensor(float("nan")))
    per_row = ranking.margin_mse(positive, negative, teacher[0], broken, keep)
    value = masked_mean(per_row, keep.any(dim=1))
    rows = [
        (positive[r] - negative[r][keep[r]] - teacher[0][r] + teacher[1][r][keep[r]])
        .square()
        .mean()
        for r in range(3)
    ]
    by_rows = torch.stack(rows).mean()
    assert value.item() == pytest.approx(by_rows.item(), rel=1e-6)
    for one, other in zip(
        torch.autograd.grad(value, (positive, negative)),
        torch.autograd.grad(by_rows, (positive, negative)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
        assert one.isfinite().all()
        assert one.abs().sum() > 0


@pytest.mark.parametrize("size", [1, 2, 4, 9])
def test_chunks_change_neither_value_nor_gradient(size: int):
    student = random(5, 1, seed=5), random(5, 3, seed=6)
    teacher = random(5, 1, seed=7).detach(), random(5, 3, seed=8).detach()
    keep = torch.ones(5, 3, dtype=torch.bool)
    whole = ranking.margin_mse(*student, *teacher, keep).mean()
    parts = zip(*(t.split(size) for t in (*student, *teacher, keep)), strict=True)
    chunked = torch.cat([ranking.margin_mse(*part) for part in parts]).mean()
    assert chunked.item() == pytest.approx(whole.item(), rel=1e-6)
    for one, other in zip(
        torch.autograd.grad(whole, student), torch.autograd.grad(chunked, student), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_it_agrees_with_margin_mse_loss():
    query, documents = random(4, 8, seed=9), random(4, 3, 8, seed=10)
    labels = random(4, 3, seed=11).detach()
    theirs = MarginMSELoss(None, similarity_fct=pairwise_cos_sim)
    expected = theirs.compute_loss_from_embeddings([query, *documents.unbind(1)], labels)
    scores = ranking.scores(query, documents)
    keep = torch.ones(4, 2, dtype=torch.bool)
    found = ranking.margin_mse(scores[:, :1], scores[:, 1:], labels[:, :1], labels[:, 1:], keep)
    assert found.mean().item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad(found.mean(), documents, retain_graph=True)[0],
        torch.autograd.grad(expected, documents)[0],
        rtol=1e-4,
        atol=1e-6,
    )


def test_scores_are_cosines_by_hand():
    query = torch.tensor([[3.0, 4.0]])
    documents = torch.tensor([[[6.0, 8.0], [4.0, -3.0]]])
    assert ranking.scores(query, documents)[0].tolist() == pytest.approx([1.0, 0.0], abs=1e-6)
