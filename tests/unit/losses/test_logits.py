"""Divergence of token distributions: by hand, against PyTorch, properties, masks and the cache."""

import math

import pytest
import torch
from distill_api.recipe import Divergence
from distill_trainer.losses import logits
from distill_trainer.losses.logits import TopK
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, softmax

EVERY = list(Divergence)


def random(*shape: int, seed: int) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def top(teacher: Tensor, count: int) -> TopK:
    """Cache the likeliest tokens and the others' mass, in float64 as a reference."""
    log_q = log_softmax(teacher.double(), dim=-1)
    found = log_q.topk(count, dim=-1)
    others = log_q.scatter(-1, found.indices, -torch.inf)
    keep = torch.ones_like(found.indices, dtype=torch.bool)
    return TopK(found.indices, found.values, keep, torch.logsumexp(others, dim=-1))


def test_values_derived_by_hand():
    # The teacher has 3/4 and 1/4, the student 1/2 and 1/2.
    teacher, student = torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2)
    forward = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    reverse = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)
    mean = (0.625, 0.375)
    jsd = (
        0.75 * math.log(0.75 / mean[0])
        + 0.25 * math.log(0.25 / mean[1])
        + 0.5 * math.log(0.5 / mean[0])
        + 0.5 * math.log(0.5 / mean[1])
    ) / 2
    for kind, expected in zip(EVERY, (forward, reverse, jsd), strict=True):
        found = logits.divergence(student, teacher, kind, 1.0)
        assert found.tolist() == pytest.approx([expected], rel=1e-5)


def test_the_guides_formula_with_a_mean_over_tokens():
    student, teacher = random(6, 11, seed=1), random(6, 11, seed=2)
    theirs = 16 * kl_div(
        log_softmax(student / 4, dim=-1), softmax(teacher / 4, dim=-1), reduction="sum"
    )
    found = logits.divergence(student, teacher, Divergence.FORWARD_KL, 4.0)
    assert float(found.sum()) == pytest.approx(float(theirs), rel=1e-5)


def _published(student: Tensor, teacher: Tensor, labels: Tensor, beta: float) -> Tensor:
    """Compute GKD's loss as its paper (equation 1) and TRL's GKDTrainer do, temperature 1."""
    log_p, log_q = log_softmax(student, dim=-1), log_softmax(teacher, dim=-1)
    if beta == 0:
        found = kl_div(log_p, log_q, reduction="none", log_target=True)
    elif beta == 1:
        found = kl_div(log_q, log_p, reduction="none", log_target=True)
    else:
        weights = torch.tensor([1 - beta, beta]).log().reshape(2, 1, 1, 1)
        mixture = torch.logsumexp(torch.stack([log_p, log_q]) + weights, dim=0)
        of_teacher = kl_div(mixture, log_q, reduction="none", log_target=True)
        of_student = kl_div(mixture, log_p, reduction="none", log_target=True)
        found = beta * of_teacher + (1 - beta) * of_student
    kept = labels != -100
    return found[kept].sum() / kept.sum()


@pytest.mark.parametrize("beta", [0, 0.1, 0.5, 0.9, 1])
def test_the_mixture_is_that_of_gkd(beta: float):
    student, teacher = random(2, 5, 9, seed=14).requires_grad_(), random(2, 5, 9, seed=15)
    labels = torch.tensor([[-100, -100, 3, 4, 5], [-100, 1, 2, -100, -100]])
    kinds = {0: Divergence.FORWARD_KL, 1: Divergence.REVERSE_KL}
    kind = kinds.get(int(beta), Divergence.JENSEN_SHANNON) if beta in kinds else EVERY[2]
    expected = _published(student, teacher, labels, beta)
    kept = labels != -100
    found = logits.divergence(student[kept], teacher[kept], kind, 1.0, beta or 0.5).mean()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        *(torch.autograd.grad(one, student)[0] for one in (found, expected)),
    )


@pytest.mark.parametrize("kind", EVERY)
def test_equal_distributions_have_no_divergence_and_no_gradient(kind: Divergence):
    teacher = random(5, 7, seed=3)
    student = (teacher + 3).requires_grad_()
    found = logits.divergence(student, teacher, kind, 2.0)
    assert found.abs().max() < 1e-5
    (gradient,) = torch.autograd.grad(found.sum(), student)
    assert gradient.abs().max() < 1e-5


@given(seed=st.integers(0, 10_000), temperature=st.floats(0.5, 20), kind=st.sampled_from(EVERY))
@settings(max_examples=40, deadline=None)
def test_it_is_never_negative_and_its_gradient_is_finite(
    seed: int, temperature: float, kind: Divergence
):
    student, teacher = random(3, 9, seed=seed).requires_grad_(), random(3, 9, seed=seed + 1)
    for found in (
        logits.divergence(student, teacher, kind, temperature),
        logits.cached(student, top(teacher, 4), kind, temperature),
    ):
        assert (found >= -1e-4).all()
        (gradient,) = torch.autograd.grad(found.sum(), student)
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


def test_the_gradient_keeps_its_size_when_the_temperature_rises():
    # T7: without the square it would fall 64-fold from 4 to 32; with it, it has a limit.
    teacher = random(64, 50, seed=5)
    sizes = []
    for temperature in (4.0, 8.0, 16.0, 32.0):
        student = random(64, 50, seed=6).requires_grad_()
        loss = logits.divergence(student, teacher, Divergence.FORWARD_KL, temperature).sum()
        sizes.append(float(torch.autograd.grad(loss, student)[0].norm()))
    assert max(sizes) < 1.5 * min(sizes)


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_cache_of_everything_is_the_whole_distribution(kind: Divergence, temperature: float):
    teacher = random(5, 8, seed=7)
    # All tokens, and all but one: a tail of one token hides nothing, at any temperature.
    for count in (8, 7):
        student = random(5, 8, seed=8).requires_grad_()
        full = logits.divergence(student, teacher, kind, temperature)
        found = logits.cached(student, top(teacher, count), kind, temperature)
        torch.testing.assert_close(found, full, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            torch.autograd.grad(found.sum(), student)[0],
            torch.autograd.grad(full.sum(), student)[0],
            rtol=1e-4,
            atol=1e-5,
        )


@given(seed=st.integers(0, 10_000), count=st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_what_a_cache_hides_is_the_tails_own_divergence(seed: int, count: int):
    teacher, student = random(4, 32, seed=seed).double(), random(4, 32, seed=seed + 1).double()
    cache = top(teacher, count)
    full = logits.divergence(student, teacher, Divergence.FORWARD_KL, 1.0)
    found = logits.cached(student, cache, Divergence.FORWARD_KL, 1.0)
    hidden = torch.stack([_of_tails(*row) for row in zip(student, teacher, cache.ids, strict=True)])
    torch.testing.assert_close(found + cache.tail.exp() * hidden, full.double(), rtol=1e-4, atol=1e-5, check_dtype=False)  # fmt: skip  # noqa: E501
    assert (found <= full + 1e-4).all()


def _of_tails(student: Tensor, teacher: Tensor, ids: Tensor) -> Tensor:
    tail = torch.ones_like(teacher, dtype=torch.bool)
    tail[ids] = False
    log_q = log_softmax(teacher[tail], dim=-1)
    return (log_q.exp() * (log_q - log_softmax(student[tail], dim=-1))).sum()


def test_a_cache_in_half_precision_costs_less_than_a_thousandth_of_a_nat():
    teacher, student = random(200, 400, seed=9), random(200, 400, seed=10)
    exact = top(teacher, 32)
    sums = {}
    for kind in (torch.float16, torch.bfloat16):
        rounded = TopK(exact.ids, exact.logprobs.to(kind), exact.keep, exact.tail.float())
        found = logits.cached(student, rounded, Divergence.FORWARD_KL, 1.0)
        sums[kind] = float(
            (found - logits.cached(student, exact, Divergence.FORWARD_KL, 1.0)).abs().mean()
        )
    assert sums[torch.float16] < 1e-3
    # The reason for float16: log-probabilities need digits, not range.
    assert sums[torch.float16] < sums[torch.bfloat16] / 4


@pytest.mark.parametrize("kind", EVERY)
def test_what_is_not_kept_changes_neither_value_nor_gradient(kind: Divergence):
    # T9: the mask comes before the tail's arithmetic; -inf less -inf would be NaN in the gradient.
    teacher = random(3, 12, seed=11)
    whole = top(teacher, 4)
    wide = TopK(
        ids=torch.cat([whole.ids, whole.ids[:, :1].expand(-1, 2)], dim=-1),
        logprobs=torch.cat([whole.logprobs, torch.full((3, 2), -torch.inf)], dim=-1),
        keep=torch.cat([whole.keep, torch.zeros(3, 2, dtype=torch.bool)], dim=-1),
        tail=whole.tail,
    )
    values, gradients = [], []
    for cache in (whole, wide):
        student = random(3, 12, seed=12).requires_grad_()
        values.append(logits.cached(student, cache, kind, 2.0))
        gradients.append(torch.autograd.grad(values[-1].sum(), student)[0])
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients)


def test_a_teacher_that_is_sure_has_no_tail_and_gives_no_nan():
    sure = TopK(
        ids=torch.tensor([[2, 2]]),
        logprobs=torch.tensor([[0.0, -torch.inf]]),
        keep=torch.tensor([[True, False]]),
        tail=torch.tensor([-torch.inf]),
    )
    student = random(1, 5, seed=13).requires_grad_()
    found = logits.cached(student, sure, Divergence.FORWARD_KL, 1.0)
    (gradient,) = torch.autograd.grad(found.sum(), student)
    assert gradient.isfinite().all()


def test_different_vocabularies_are_refused_with_both_sizes():
    with pytest.raises(ValueError, match=r"\(2, 5\).*\(2, 6\)"):
        logits.divergence(torch.zeros(2, 5), torch.zeros(2, 6), Divergence.FORWARD_KL, 1.0)
