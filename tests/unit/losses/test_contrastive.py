"""NT-Xent: minimum, a value by hand, masks, chunks, sentence-transformers as the oracle."""

import math

import pytest
import torch
from distill_trainer.losses import contrastive
from distill_trainer.losses.reduction import masked_mean
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import Tensor

QUERIES = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
DOCUMENTS = torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.6, 0.8]])
OWN = torch.tensor([0, 1])


def random(rows: int, width: int, seed: int) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def test_a_value_derived_by_hand():
    # Cosines: query 0 has 1 and 0, query 1 has 0 and 0.6; temperature 0.5 makes 2, 0 and 0, 1.2.
    found = contrastive.query_to_document(QUERIES, DOCUMENTS, OWN, temperature=0.5)
    by_hand = [math.log(math.e**2 + 1) - 2, math.log(1 + math.exp(1.2)) - 1.2]
    assert found.tolist() == pytest.approx(by_hand, abs=1e-6)


def test_documents_look_for_their_queries_by_hand():
    # Document 0 has cosines 1 and 0 with the queries, document 1 has 0 and 0.6.
    found = contrastive.document_to_query(QUERIES, DOCUMENTS, OWN, temperature=0.5)
    by_hand = [math.log(math.e**2 + 1) - 2, math.log(1 + math.exp(1.2)) - 1.2]
    assert found.tolist() == pytest.approx(by_hand, abs=1e-6)


def test_students_that_equal_their_teacher_have_the_smallest_loss():
    teacher = torch.eye(4)
    same = contrastive.student_to_teacher(teacher, teacher, temperature=0.05).mean()
    # -log of 1 / (1 + 3 exp(-20)): orthogonal texts at temperature 0.05.
    assert same.item() == pytest.approx(3 * math.exp(-20), abs=1e-8)
    for seed in range(5):
        other = contrastive.student_to_teacher(random(4, 4, seed), teacher, temperature=0.05)
        assert other.mean() > same


def test_candidates_that_are_excluded_change_neither_value_nor_gradient():
    queries, documents = random(3, 8, 1), random(5, 8, 2)
    own, excluded = torch.tensor([0, 1, 2]), torch.zeros(3, 5, dtype=torch.bool)
    excluded[:, 3:] = True
    kept = contrastive.query_to_document(
        queries, documents, own, temperature=0.1, excluded=excluded
    ).mean()
    alone = contrastive.query_to_document(queries, documents[:3], own, temperature=0.1).mean()
    assert kept.item() == pytest.approx(alone.item(), abs=1e-6)
    with_mask = torch.autograd.grad(kept, (queries, documents))
    without = torch.autograd.grad(alone, (queries, documents))
    for one, other in zip(with_mask, without, strict=True):
        torch.testing.assert_close(one, other)
        assert one.abs().sum() > 0
    assert not with_mask[1][3:].any()


def test_masked_texts_are_no_candidates_of_the_others():
    student, teacher = random(5, 6, 3), random(5, 6, 4).detach()
    keep = torch.tensor([True, True, False, True, False])
    broken = torch.where(keep.unsqueeze(1), student, torch.tensor(float("nan")))
    whole = contrastive.student_to_teacher(broken, teacher.nan_to_num(), temperature=0.1, keep=keep)
    value = masked_mean(whole, keep)
    left = contrastive.student_to_teacher(student[keep], teacher[keep], temperature=0.1).mean()
    assert value.item() == pytest.approx(left.item(), abs=1e-6)
    gradient = torch.autograd.grad(value, student)[0]
    torch.testing.assert_close(gradient, torch.autograd.grad(left, student)[0])
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
def test_chunks_of_queries_change_neither_value_nor_gradient(size: int):
    queries, documents, own = random(7, 8, 5), random(9, 8, 6), torch.tensor([0, 1, 2, 3, 4, 5, 6])
    whole = contrastive.query_to_document(queries, documents, own, temperature=0.1).sum()
    parts = [
        contrastive.query_to_document(q, documents, o, temperature=0.1).sum()
        for q, o in zip(queries.split(size), own.split(size), strict=True)
    ]
    total = torch.stack(parts).sum()
    assert total.item() == pytest.approx(whole.item(), rel=1e-6)
    for one, other in zip(
        torch.autograd.grad(whole, (queries, documents)),
        torch.autograd.grad(total, (queries, documents)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_two_queries_with_one_document_are_no_negatives_of_each_other():
    queries, documents = random(3, 8, 7), random(2, 8, 8)
    own = torch.tensor([0, 0, 1])
    found = contrastive.document_to_query(queries, documents, own, temperature=0.1)
    alone = contrastive.document_to_query(
        queries[[0, 2]], documents, torch.tensor([0, 1]), temperature=0.1
    )
    assert found[0].item() == pytest.approx(alone[0].item(), abs=1e-6)


def test_it_agrees_with_multiple_negatives_ranking_loss():
    queries, documents, negatives = random(4, 8, 9), random(4, 8, 10), random(4, 8, 11)
    theirs = MultipleNegativesRankingLoss(None, scale=1 / 0.07)
    expected = theirs.compute_loss_from_embeddings([queries, documents, negatives], torch.empty(0))
    found = contrastive.query_to_document(
        queries, torch.cat([documents, negatives]), torch.arange(4), temperature=0.07
    ).mean()
    _same_with_gradient(found, expected, (queries, documents, negatives))


def test_both_directions_agree_with_the_symmetric_loss():
    queries, documents, own = random(4, 8, 12), random(4, 8, 13), torch.arange(4)
    theirs = MultipleNegativesRankingLoss(
        None,
        scale=20,
        directions=("query_to_doc", "doc_to_query"),
        partition_mode="per_direction",
    )
    expected = theirs.compute_loss_from_embeddings([queries, documents], torch.empty(0))
    there = contrastive.query_to_document(queries, documents, own, temperature=0.05)
    back = contrastive.document_to_query(queries, documents, own, temperature=0.05)
    _same_with_gradient((there + back).mean() / 2, expected, (queries, documents))


def test_the_guide_s_loss_is_the_one_from_student_to_teacher():
    student, teacher = random(5, 8, 14), random(5, 8, 15)
    similarity = torch.nn.functional.normalize(student) @ torch.nn.functional.normalize(teacher).T
    expected = torch.nn.functional.cross_entropy(similarity / 0.07, torch.arange(5))
    found = contrastive.student_to_teacher(student, teacher, temperature=0.07).mean()
    _same_with_gradient(found, expected, (student,))


@pytest.mark.parametrize("temperature", [0.001, 10.0])
def test_the_gradient_is_finite_at_the_ends_of_the_temperature(temperature: float):
    student, teacher = random(6, 8, 16), random(6, 8, 17).detach()
    loss = contrastive.student_to_teacher(student, teacher, temperature=temperature).mean()
    gradient = torch.autograd.grad(loss, student)[0]
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0


def test_a_single_candidate_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        contrastive.query_to_document(QUERIES[:1], DOCUMENTS[:1], OWN[:1], temperature=0.1)


def test_unequal_widths_are_refused():
    with pytest.raises(ValueError, match="project the student first"):
        contrastive.student_to_teacher(torch.ones(3, 4), torch.ones(3, 5), temperature=0.1)


def _same_with_gradient(found: Tensor, expected: Tensor, leaves: tuple[Tensor, ...]) -> None:
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    ours = torch.autograd.grad(found, leaves, retain_graph=True)
    theirs = torch.autograd.grad(expected, leaves, retain_graph=True)
    assert len(ours) == len(leaves)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
        assert one.abs().sum() > 0
