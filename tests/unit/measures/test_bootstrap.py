"""Retention and its interval."""

import numpy as np
import pytest
from distill_trainer.measures import bootstrap
from hypothesis import given, settings
from hypothesis import strategies as st

SETTINGS = {"samples": 2000, "confidence": 0.95, "seed": 0}


def test_equal_models_keep_everything_for_certain():
    values = np.array([0.2, 0.9, 1.0, 0.0])
    found = bootstrap.retention(values, values, **SETTINGS)
    assert found == bootstrap.Retention(1.0, 1.0, 1.0)


def test_a_constant_share_is_kept_for_certain():
    teacher = np.linspace(0.1, 1, 50)
    found = bootstrap.retention(0.9 * teacher, teacher, **SETTINGS)
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.9, 0.9, 0.9))


def test_the_interval_is_the_one_that_theory_gives():
    # Two proportions on 400 queries, the student right on 90 % of those that the teacher knows.
    generator = np.random.default_rng(5)
    teacher = np.ones(400)
    student = (generator.random(400) < 0.9).astype(float)
    found = bootstrap.retention(student, teacher, **SETTINGS)
    spread = np.sqrt(student.mean() * (1 - student.mean()) / 400)
    assert found is not None
    assert found.low == pytest.approx(student.mean() - 1.96 * spread, abs=0.005)
    assert found.high == pytest.approx(student.mean() + 1.96 * spread, abs=0.005)


def test_pairing_makes_the_interval_narrow():
    # Hard and easy queries: both models share them, so the ratio is far surer than each mean.
    teacher = np.tile([0.1, 1.0], 200)
    student = 0.95 * teacher + np.random.default_rng(1).normal(0, 0.01, 400)
    found = bootstrap.retention(student, teacher, **SETTINGS)
    assert found is not None
    assert found.high - found.low < 0.01


def test_a_teacher_that_knows_nothing_gives_no_ratio():
    assert bootstrap.retention(np.ones(3), np.zeros(3), **SETTINGS) is None


def test_the_same_seed_gives_the_same_interval_whatever_the_block(monkeypatch: pytest.MonkeyPatch):
    values = np.random.default_rng(2).random((2, 30))
    once = bootstrap.retention(*values, **SETTINGS)
    monkeypatch.setattr(bootstrap, "BLOCK", 300)
    assert bootstrap.retention(*values, **SETTINGS) == once


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=30), st.floats(0.5, 0.999))
def test_the_interval_is_in_order(values: list[float], confidence: float):
    student = np.array(values)
    found = bootstrap.retention(
        student, student[::-1].copy(), samples=200, confidence=confidence, seed=1
    )
    assert found is not None
    assert found.low <= found.high


def test_unpaired_values_are_refused():
    with pytest.raises(ValueError, match="one for each query"):
        bootstrap.retention(np.ones(3), np.ones(4), **SETTINGS)
