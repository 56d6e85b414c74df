"""Distances to the teacher's space: minimum, a value by hand, masks, chunks, the oracle."""

from collections.abc import Callable

import pytest
import torch
from distill_trainer.losses import regression
from distill_trainer.losses.reduction import masked_mean
from sentence_transformers.sentence_transformer.losses import EmbedDistillLoss
from torch import Tensor

STUDENT = torch.tensor([[1.0, 2.0, 2.0], [0.0, 3.0, 4.0]])
TEACHER = torch.tensor([[1.0, 0.0, 2.0], [0.0, 4.0, 3.0]])

Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES = [regression.squared_error, regression.cosine]


def random(rows: int, width: int, seed: int) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def test_squared_error_by_hand():
    # Rows differ by (0, 2, 0) and (0, -1, 1): 4/3 and 2/3.
    found = regression.squared_error(STUDENT, TEACHER)
    assert found.tolist() == pytest.approx([4 / 3, 2 / 3])


def test_cosine_by_hand():
    # Inner products 5 and 24, lengths 3 and sqrt 5, 5 and 5.
    found = regression.cosine(STUDENT, TEACHER)
    assert found.tolist() == pytest.approx([1 - 5 / (3 * 5**0.5), 1 - 24 / 25], abs=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_student_that_equals_its_teacher_has_no_loss(loss: Loss):
    assert loss(STUDENT, STUDENT).abs().max() < 1e-6
    assert loss(STUDENT, TEACHER).min() > 0.01


@pytest.mark.parametrize("loss", LOSSES)
def test_masked_rows_change_neither_value_nor_gradient(loss: Loss):
    student, teacher = random(5, 4, 1), random(5, 4, 2).detach()
    keep = torch.tensor([True, False, True, True, False])
    teacher[1], teacher[4] = 1e4, -1e4
    value = masked_mean(loss(student, teacher), keep)
    left = loss(student[keep], teacher[keep]).mean()
    assert value.item() == pytest.approx(left.item(), abs=1e-6)
    value.backward()
    assert student.grad is not None
    assert not student.grad[~keep].any()
    torch.testing.assert_close(
        student.grad, torch.autograd.grad(left, student)[0], rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_chunks_change_neither_value_nor_gradient(loss: Loss, size: int):
    student, teacher = random(7, 4, 3), random(7, 4, 4).detach()
    whole = masked_mean(loss(student, teacher))
    parts = [loss(s, t) for s, t in zip(student.split(size), teacher.split(size), strict=True)]
    chunked = masked_mean(torch.cat(parts))
    assert chunked.item() == pytest.approx(whole.item(), rel=1e-6)
    one = torch.autograd.grad(whole, student)[0]
    torch.testing.assert_close(torch.autograd.grad(chunked, student)[0], one)
    assert one.isfinite().all()
    assert one.abs().sum() > 0


@pytest.mark.parametrize(
    ("loss", "metric"), [(regression.squared_error, "mse"), (regression.cosine, "cosine")]
)
def test_it_agrees_with_embed_distill_loss(loss: Loss, metric: str):
    student, teacher = random(6, 8, 5), random(6, 8, 6).detach()
    theirs = EmbedDistillLoss(None, distance_metric=metric)
    expected = theirs.compute_loss_from_embeddings([student], [teacher])
    found = masked_mean(loss(student, teacher))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad(found, student)[0],
        torch.autograd.grad(expected, student)[0],
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_unequal_widths_are_refused(loss: Loss):
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 4\)"):
        loss(STUDENT, torch.ones(2, 4))


def test_a_mean_of_no_rows_is_refused():
    with pytest.raises(ValueError, match="keeps none"):
        masked_mean(torch.ones(3), torch.zeros(3, dtype=torch.bool))
