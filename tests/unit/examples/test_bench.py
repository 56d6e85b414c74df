"""The bench: the guide's loss is the guide's, and tables are Markdown."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[3]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the bench find its modules and the demo's, as `bench/run.py` does."""
    for folder in (".", "bench"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    yield
    for name in ("tables", "loops", "lesson"):
        sys.modules.pop(name, None)


def test_the_guides_loss_is_cross_entropy_of_each_text_with_its_own_teacher(bench: None):
    from loops import embedding_distillation_loss

    teacher = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    student = torch.tensor([[5.0, 0.0], [0.0, 1.0]])
    # cosines are 1 with the own and 0 with the other: ln(1 + e^(-1/0.5))
    loss = embedding_distillation_loss(teacher, student, temperature=0.5)
    assert loss.item() == pytest.approx(0.126928, abs=1e-6)


def test_a_table_is_markdown(bench: None):
    from tables import table

    assert list(table(["a", "b"], [["1", "2"]])) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]
