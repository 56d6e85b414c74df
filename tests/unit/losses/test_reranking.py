"""Losses of rerankers: minimum, values by hand, masks, chunks, and the library's own."""

import math

import pytest
import torch
from distill_api.recipe import Contrastive, HingeMargin, MarginMse, RerankerRecipe, Softened
from distill_trainer.losses import reranking
from distill_trainer.losses.reduction import unit
from distill_trainer.losses.reranking import Lists
from sentence_transformers.multi_vector_encoder.scoring import colbert_kd_scores
from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss
from torch import Tensor

NAN = float("nan")


def random(*shape: int, seed: int, scale: float = 3.0) -> Tensor:
    made = scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return made.requires_grad_()


def gradient(value: Tensor, of: Tensor) -> Tensor:
    return torch.autograd.grad(value, of, retain_graph=True)[0]


def test_hinge_by_hand():
    student = torch.tensor([[2.0, 1.0, 1.9]])
    teacher = torch.tensor([[3.0, 1.0, 2.9]])
    keep = torch.ones(1, 2, dtype=torch.bool)
    # Student's margins 1 and .1, teacher's 2 and .1: short by 1.3 and .3.
    found = reranking.hinge_margin(student, teacher, keep, margin=0.3)
    assert found.tolist() == pytest.approx([(1.3 + 0.3) / 2])


def test_hinge_is_zero_with_no_gradient_once_the_margin_is_reached():
    teacher = torch.tensor([[3.0, 1.0]])
    student = torch.tensor([[9.0, 1.0]], requires_grad=True)
    keep = torch.ones(1, 1, dtype=torch.bool)
    reached = reranking.hinge_margin(student, teacher, keep, margin=0.5).sum()
    assert reached.item() == 0
    assert gradient(reached, student).abs().sum() == 0
    short = reranking.hinge_margin(student, teacher, keep, margin=7.0).sum()
    assert gradient(short, student).tolist() == [[-1.0, 1.0]]


def test_the_margin_grows_over_the_training():
    knobs = HingeMargin(margin_start=0.3, margin_end=0.7)
    found = [reranking.margin_at(knobs, through) for through in (0, 0.5, 1)]
    assert found == pytest.approx([0.3, 0.5, 0.7])


def test_listwise_kl_by_hand():
    teacher = torch.tensor([[math.log(3.0), 0.0]])  # shares 3/4 and 1/4
    student = torch.zeros(1, 2)
    keep = torch.ones(1, 2, dtype=torch.bool)
    found = reranking.listwise_kl(student, teacher, keep, temperature=1.0)
    assert found.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_a_shifted_student_has_no_listwise_loss(temperature: float):
    teacher = random(3, 5, seed=1).detach()
    keep = torch.ones(3, 5, dtype=torch.bool)
    found = reranking.listwise_kl(teacher + 7, teacher, keep, temperature=temperature)
    assert found.abs().max() < 1e-5


def test_temperature_keeps_the_size_of_the_gradient():
    student, teacher = random(4, 6, seed=2, scale=0.1), random(4, 6, seed=3, scale=0.1).detach()
    keep = torch.ones(4, 6, dtype=torch.bool)
    sizes = [
        gradient(reranking.listwise_kl(student, teacher, keep, temperature=t).sum(), student).norm()
        for t in (2.0, 20.0)
    ]
    assert sizes[1] / sizes[0] == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_listwise_kl_agrees_with_distill_kl_div_loss(temperature: float):
    query, documents = random(4, 8, seed=4), random(4, 3, 8, seed=5)
    labels = random(4, 3, seed=6).detach()
    theirs = DistillKLDivLoss(None, temperature=temperature)
    expected = theirs.compute_loss_from_embeddings([query, *documents.unbind(1)], labels)
    scores = (query.unsqueeze(1) * documents).sum(dim=-1)
    keep = torch.ones(4, 3, dtype=torch.bool)
    found = reranking.listwise_kl(scores, labels, keep, temperature=temperature).mean()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(gradient(found, documents), gradient(expected, documents))


def masked(name: str, student: Tensor, teacher: Tensor, keep: Tensor) -> Tensor:
    match name:
        case "hinge":
            return reranking.hinge_margin(student, teacher, keep[:, 1:], margin=0.4)
        case "kl":
            return reranking.listwise_kl(student, teacher, keep, temperature=2.0)
        case _:
            return reranking.in_list(student, keep)


@pytest.mark.parametrize("name", ["hinge", "kl", "in list"])
def test_masked_documents_change_neither_value_nor_gradient(name: str):
    student, teacher = random(2, 4, seed=7), random(2, 4, seed=8).detach()
    keep = torch.tensor([[1, 1, 0, 1], [1, 1, 1, 0]]).bool()
    broken = torch.where(keep, teacher, torch.tensor(NAN))
    padded = torch.where(keep, student, torch.tensor(1e4))
    value = masked(name, padded, broken, keep).sum()
    rows = [
        masked(name, student[r : r + 1, keep[r]], teacher[r : r + 1, keep[r]], torch.ones(1, 3) > 0)
        for r in range(2)
    ]
    alone = torch.cat(rows).sum()
    assert value.item() == pytest.approx(alone.item(), rel=1e-5)
    found = gradient(value, student)
    assert found.isfinite().all()
    assert found.abs().sum() > 0
    torch.testing.assert_close(found, gradient(alone, student))


@pytest.mark.parametrize("name", ["hinge", "kl", "in list"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_chunks_change_neither_value_nor_gradient(name: str, size: int):
    student, teacher = random(5, 4, seed=9), random(5, 4, seed=10).detach()
    keep = torch.ones(5, 4, dtype=torch.bool)
    whole = masked(name, student, teacher, keep).mean()
    parts = zip(*(t.split(size) for t in (student, teacher, keep)), strict=True)
    chunked = torch.cat([masked(name, *part) for part in parts]).mean()
    assert chunked.item() == pytest.approx(whole.item(), rel=1e-6)
    torch.testing.assert_close(gradient(whole, student), gradient(chunked, student))


def test_max_sim_by_hand():
    queries = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    documents = torch.tensor([[[[3.0, 0.0], [0.6, 0.8]], [[-1.0, 0.0], [0.0, -1.0]]]])
    seen, read = torch.ones(1, 2, dtype=torch.bool), torch.ones(1, 2, 2, dtype=torch.bool)
    found = reranking.max_sim(queries, documents, seen, read)
    assert found[0].tolist() == pytest.approx([1 + 0.8, 0 + 0])


def test_max_sim_agrees_with_colbert_and_leaves_padding_out():
    queries, documents = random(3, 4, 8, seed=11), random(3, 2, 5, 8, seed=12)
    seen = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]]).bool()
    read = torch.ones(3, 2, 5, dtype=torch.bool)
    read[1, 0, 2:] = False
    expected = colbert_kd_scores(
        unit(queries), unit(documents), queries_mask=seen, documents_mask=read
    )
    found = reranking.max_sim(queries, documents, seen, read)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient(found.sum(), queries), gradient(expected.sum(), queries))
    assert gradient(found.sum(), documents)[1, 0, 2:].abs().sum() == 0


def test_the_recipe_weighs_its_losses():
    recipe = RerankerRecipe(
        margin_mse=MarginMse(weight=2),
        hinge_margin=HingeMargin(weight=3, margin_start=0, margin_end=2),
        listwise_kl=Softened(weight=5, temperature=2),
        contrastive=Contrastive(weight=7),
    )
    lists = Lists(random(3, 4, seed=13), random(3, 4, seed=14).detach(), torch.ones(3, 4) > 0)
    loss = reranking.reranker_loss(recipe, lists, lambda _: torch.tensor(1.5), through=0.5)
    parts = {name: part.item() for name, part in loss.parts.items()}
    assert parts["contrastive"] == 1.5
    weighed = 2 * parts["marginMse"] + 3 * parts["hingeMargin"] + 5 * parts["listwiseKl"] + 7 * 1.5
    assert loss.total.item() == pytest.approx(weighed, rel=1e-6)
    hinge = reranking.hinge_margin(lists.student, lists.teacher, lists.keep[:, 1:], margin=1.0)
    assert parts["hingeMargin"] == pytest.approx(hinge.mean().item())


def test_a_batch_without_a_second_document_is_refused():
    keep = torch.tensor([[True, False]])
    lists = Lists(random(1, 2, seed=15), random(1, 2, seed=16).detach(), keep)
    with pytest.raises(ValueError, match="no list has a second document"):
        reranking.reranker_loss(
            RerankerRecipe(margin_mse=MarginMse()), lists, lambda _: torch.zeros(()), through=0
        )
    both = RerankerRecipe(margin_mse=MarginMse(), contrastive=Contrastive())
    loss = reranking.reranker_loss(both, lists, lambda _: torch.tensor(1.5), through=0)
    assert {name: float(part) for name, part in loss.parts.items()} == {"contrastive": 1.5}
