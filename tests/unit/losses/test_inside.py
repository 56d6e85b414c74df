"""Hidden states, attention, cross-entropy and chunks: by hand, against PyTorch, masks."""

import math

import pytest
import torch
from distill_trainer.losses import attention, chunks, hidden, tokens
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("own", "theirs", "expected"),
    [(2, 4, [1, 3]), (3, 4, [0, 1, 3]), (4, 4, [0, 1, 2, 3]), (3, 2, [0, 1, 1]), (1, 30, [29])],
)
def test_layers_are_spread_evenly_and_the_last_learns_from_the_last(
    own: int, theirs: int, expected: list[int]
):
    assert hidden.spread(own, theirs) == expected


def test_states_by_hand():
    student = [torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 0.0]])]
    teacher = [torch.tensor([[0.0, 4.0]]), torch.tensor([[1.0, 1.0]])]
    # (1 + 4) / 2 and (1 + 1) / 2, then their mean
    assert hidden.states(student, teacher).tolist() == [1.75]


def test_states_of_another_number_of_layers_are_refused():
    with pytest.raises(ValueError, match="1 student layers are matched with 0"):
        hidden.states([torch.zeros(1, 2)], [])


def test_attention_by_hand():
    # Teacher 3/4, 1/4; student 1/2, 1/2; the third key lies ahead.
    teacher = torch.tensor([[[0.75, 0.25, 0.0]]])
    student = torch.tensor([[[0.5, 0.5, 0.0]]])
    keep = torch.tensor([[True, True, False]])
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    found = attention.transfer([student], [teacher], keep)
    assert found.tolist() == pytest.approx([expected])


def test_attention_against_pytorch_and_no_loss_when_equal():
    teacher, student = (random(6, 3, 5, seed=s).softmax(dim=-1) for s in (1, 2))
    keep = torch.ones(6, 5, dtype=torch.bool)
    theirs = kl_div(student.log(), teacher, reduction="none").sum(-1).mean(-1)
    torch.testing.assert_close(attention.transfer([student], [teacher], keep), theirs)
    assert attention.transfer([teacher], [teacher], keep).abs().max() < 1e-6


def test_unequal_head_counts_compare_the_mean_over_heads():
    teacher, student = random(4, 8, 5, seed=3).softmax(-1), random(4, 2, 5, seed=4).softmax(-1)
    keep = torch.ones(4, 5, dtype=torch.bool)
    found = attention.transfer([student], [teacher], keep)
    one = attention.transfer([student.mean(1, keepdim=True)], [teacher.mean(1, keepdim=True)], keep)
    torch.testing.assert_close(found, one)


def test_keys_that_are_not_kept_change_neither_value_nor_gradient():
    teacher = random(2, 2, 4, seed=5).softmax(-1)
    keep = torch.tensor([[True, True, True, False]]).expand(2, 4)
    gradients, values = [], []
    for bad in (0.0, float("nan")):
        student = random(2, 2, 4, seed=6).softmax(-1)
        student[..., 3] = bad
        student.requires_grad_()
        values.append(attention.transfer([student], [teacher], keep))
        gradients.append(torch.autograd.grad(values[-1].sum(), student)[0])
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients)
    assert gradients[1].isfinite().all()
    assert gradients[1].abs().sum() > 0


def test_cross_entropy_with_smoothing_is_pytorchs_token_by_token():
    written, labels = random(7, 9, seed=7), torch.arange(7)
    found = tokens.nll(written, labels, label_smoothing=0.2)
    expected = cross_entropy(written, labels, label_smoothing=0.2, reduction="sum")
    assert float(found.sum()) == pytest.approx(float(expected), rel=1e-6)


def test_cross_entropy_by_hand():
    assert tokens.nll(torch.zeros(1, 4), torch.tensor([2])).tolist() == pytest.approx([math.log(4)])


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_chunks_give_the_gradient_of_the_whole(size: int):
    head = torch.nn.Linear(6, 11, bias=False)
    labels = torch.arange(10) % 11

    def loss(rows: Tensor, begin: int, end: int) -> Tensor:
        return tokens.nll(head(rows), labels[begin:end]).sum()

    states = random(10, 6, seed=8).requires_grad_()
    expected = torch.autograd.grad(3 * loss(states, 0, 10), [states, head.weight])
    for found in (
        chunks.total(states, loss, size, [head.weight]),
        chunks.again(states, loss, size),
    ):
        assert float(found.detach()) == pytest.approx(float(loss(states, 0, 10).detach()))
        assert head.weight.grad is None
        of_states, of_head = torch.autograd.grad(3 * found, [states, head.weight])
        torch.testing.assert_close(of_states, expected[0])
        torch.testing.assert_close(of_head, expected[1])


def test_no_more_than_one_chunk_of_logits_is_asked_for_at_a_time():
    seen: list[int] = []

    def loss(rows: Tensor, begin: int, end: int) -> Tensor:
        seen.append(end - begin)
        return rows.sum()

    chunks.total(random(10, 2, seed=9), loss, 4, [])
    assert seen == [4, 4, 2]
    assert chunks.size(50_000, torch.device("cpu")) * 50_000 <= chunks.LOGITS
