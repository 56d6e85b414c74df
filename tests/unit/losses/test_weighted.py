"""The recipe's sum: its parts and factors, Matryoshka, projections, batches without negatives."""

import pytest
import torch
from distill_api.recipe import EmbeddingRecipe
from distill_trainer.losses import matryoshka
from distill_trainer.losses.rows import Rows
from distill_trainer.losses.weighted import embedding_loss
from distill_trainer.training import projections
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from torch import Tensor, nn

# Texts 0-2 are queries, 3-5 their documents, 6 a hard negative of the first query.
ROWS = Rows(
    query=torch.tensor([0, 1, 2]),
    positive=torch.tensor([0, 1, 2]),
    candidates=torch.tensor([3, 4, 5, 6]),
    excluded=torch.zeros(3, 4, dtype=torch.bool),
    negatives=torch.tensor([[3], [-1], [-1]]),
)


def random(rows: int, width: int, seed: int) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def recipe(**losses: object) -> EmbeddingRecipe:
    return EmbeddingRecipe.model_validate(losses)


EVERY = {
    "contrastive": {"weight": 2, "temperature": 0.1},
    "teacherContrastive": {"weight": 3},
    "mse": {"weight": 5},
    "cosine": {"weight": 7},
    "marginMse": {"weight": 11},
}


def test_the_total_is_the_weighted_sum_of_the_parts():
    loss = embedding_loss(recipe(**EVERY), random(7, 8, 1), random(7, 8, 2).detach(), ROWS, {})
    weights = {"contrastive": 2, "teacherContrastive": 3, "mse": 5, "cosine": 7, "marginMse": 11}
    assert set(loss.parts) == set(weights)
    expected = sum(weights[name] * float(part) for name, part in loss.parts.items())
    assert loss.total.item() == pytest.approx(expected, rel=1e-6)


def test_matryoshka_repeats_every_loss_at_every_width_with_its_factor():
    cut = recipe(**EVERY, matryoshka={"dimensions": [4, 2], "weights": [0.5, 0.25]})
    maps = {width: nn.Linear(width, 8, bias=False) for width in (8, 4, 2)}
    loss = embedding_loss(cut, random(7, 8, 3), random(7, 8, 4).detach(), ROWS, maps)
    assert len(loss.parts) == 15
    factors = {"": 1.0, "@4": 0.5, "@2": 0.25}
    weights = {"contrastive": 2, "teacherContrastive": 3, "mse": 5, "cosine": 7, "marginMse": 11}
    expected = sum(
        factor * weight * float(loss.parts[name + at])
        for at, factor in factors.items()
        for name, weight in weights.items()
    )
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)


def test_matryoshka_agrees_with_matryoshka_loss():
    embeddings = random(6, 8, 5)
    model = _Fixed(embeddings)
    theirs = MatryoshkaLoss(
        model, MultipleNegativesRankingLoss(model, scale=20), [8, 4], [1.0, 0.5]
    )
    expected = theirs([{"column": 0}, {"column": 1}], torch.empty(0))
    rows = Rows(
        query=torch.arange(3),
        positive=torch.arange(3),
        candidates=torch.arange(3, 6),
        excluded=torch.zeros(3, 3, dtype=torch.bool),
        negatives=torch.empty(3, 0, dtype=torch.int64),
    )
    wanted = recipe(contrastive={}, matryoshka={"dimensions": [4], "weights": [0.5]})
    found = embedding_loss(wanted, embeddings, torch.zeros(6, 8), rows, {})
    assert found.total.item() == pytest.approx(expected.item(), rel=1e-5)


class _Fixed(SentenceTransformer):
    """Gives fixed embeddings for a column, so that a whole loss can be compared."""

    def __init__(self, embeddings: Tensor) -> None:
        nn.Module.__init__(self)
        self.fixed = embeddings

    def forward(self, features: dict[str, Tensor], **_: object) -> dict[str, Tensor]:
        column = int(features["column"])
        return {"sentence_embedding": self.fixed[3 * column : 3 * column + 3]}

    def get_embedding_dimension(self) -> int:
        return 8


@pytest.mark.parametrize(("student", "teacher"), [(8, 3), (3, 24)])
def test_a_projection_bridges_unequal_widths_and_learns(student: int, teacher: int):
    wanted = recipe(mse={}, cosine={}, teacherContrastive={})
    needed = projections.widths(wanted, student, teacher)
    assert needed == [student]
    made = projections.empty(needed, teacher)
    embeddings, target = random(7, student, 6), random(7, teacher, 7).detach()
    projections.fit(made, embeddings.detach(), target)
    loss = embedding_loss(wanted, embeddings, target, ROWS, made.by_width())
    loss.total.backward()
    gradients = [embeddings.grad, *(p.grad for p in made.parameters())]
    assert len(gradients) == 2
    for gradient in gradients:
        assert gradient is not None
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


def test_fitting_finds_the_map_where_there_is_one():
    true = random(16, 5, 8).detach()
    source = random(400, 16, 9).detach()
    made = projections.empty([16], 5)
    projections.fit(made, source, source @ true)
    torch.testing.assert_close(made.by_width()[16](source), source @ true, rtol=0.01, atol=0.02)


def test_without_losses_to_the_teacher_no_projection_is_made():
    assert projections.widths(recipe(contrastive={}, marginMse={}), 128, 384) == []


def test_equal_widths_need_a_projection_only_when_they_are_cut():
    assert projections.widths(recipe(mse={}), 384, 384) == []
    cut = recipe(mse={}, matryoshka={"dimensions": [64]})
    assert projections.widths(cut, 384, 384) == [384, 64]


def test_a_batch_without_negatives_leaves_margin_mse_out():
    none = Rows(ROWS.query, ROWS.positive, ROWS.candidates, ROWS.excluded, ROWS.negatives[:, :0])
    wanted = recipe(marginMse={}, mse={})
    loss = embedding_loss(wanted, random(7, 4, 10), torch.zeros(7, 4), none, {})
    assert set(loss.parts) == {"mse"}


def test_a_batch_that_teaches_nothing_is_refused():
    none = Rows(ROWS.query, ROWS.positive, ROWS.candidates, ROWS.excluded, ROWS.negatives[:, :0])
    with pytest.raises(ValueError, match="marginMse is the only loss"):
        embedding_loss(recipe(marginMse={}), random(7, 4, 11), torch.zeros(7, 4), none, {})


def test_a_cut_embedding_has_length_one_and_the_full_one_keeps_its_own():
    embedding = torch.tensor([[3.0, 4.0, 12.0]])
    assert matryoshka.cut(embedding, 2).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]
    assert matryoshka.cut(embedding, 3) is embedding


def test_a_width_above_the_student_s_is_refused():
    with pytest.raises(ValueError, match=r"256.*128 dimensions"):
        matryoshka.weights_of_widths(128, [256], None)
    with pytest.raises(ValueError, match="cannot be cut to 4"):
        matryoshka.cut(torch.ones(1, 3), 4)
