"""Hard records are drawn as often as easy ones, the same way in every run."""

import numpy as np
import pytest
from distill_trainer.preparing import balance
from hypothesis import given
from hypothesis import strategies as st

SKEWED = np.array([0.0] * 5 + [0.5] * 20 + [1.0] * 75, dtype=np.float32)


def test_every_part_is_drawn_equally_often_up_to_the_limit_of_copies():
    found = balance.balance(SKEWED, seed=1)
    parts = found.card()["parts"]
    assert parts == {
        "hard": {"records": 5, "drawn": 40},  # 8 copies of each, not 15
        "medium": {"records": 20, "drawn": 75},
        "easy": {"records": 75, "drawn": 75},
    }
    assert set(found.copies[5:25].tolist()) == {3, 4}


def test_the_same_seed_gives_the_same_copies_and_another_one_others():
    first, again, other = (balance.balance(SKEWED, seed=seed).copies for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()
    assert first.sum() == other.sum()


def test_records_that_are_equally_difficult_are_left_alone():
    found = balance.balance(np.full(30, 0.25, dtype=np.float32), seed=1)
    assert found.copies.tolist() == [1] * 30
    assert balance.balance(np.empty(0, np.float32), seed=1).copies.tolist() == []


def test_rows_are_all_records_once_and_then_the_copies():
    found = balance.Balance(np.zeros(2, np.int64), np.array([1, 3]), ())
    assert balance.rows(4, np.array([0, 2]), found).tolist() == [0, 1, 2, 3, 2, 2]


def test_the_margin_is_to_the_hardest_negative():
    positive = np.array([0.9, 0.5, 0.4], dtype=np.float32)
    scores = np.array([[0.2, 0.8], [0.1, np.nan], [np.nan, np.nan]], dtype=np.float32)
    assert balance.margins(positive, scores) == pytest.approx([0.1, 0.4, 0.4])
    assert balance.margins(positive, scores[:, :0]) == pytest.approx([0.9, 0.5, 0.4])


@given(
    st.lists(st.floats(-1, 1, width=32, allow_subnormal=False), min_size=1, max_size=60),
    st.integers(0, 9),
)
def test_nothing_is_lost_and_nothing_is_drawn_too_often(values: list[float], seed: int):
    found = balance.balance(np.array(values, dtype=np.float32), seed=seed)
    assert found.copies.min() >= 1
    assert found.copies.max() <= balance.MOST_COPIES
    for part in range(3):
        own = found.copies[found.parts == part]
        assert not len(own) or own.max() - own.min() <= 1
