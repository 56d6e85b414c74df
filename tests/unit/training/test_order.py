"""The order of records is a pure function of seed and step."""

import numpy as np
import pytest
from distill_trainer.training import order
from hypothesis import given, settings
from hypothesis import strategies as st

COUNTS = st.integers(1, 60)


@settings(deadline=None)
@given(count=COUNTS, batch=st.integers(1, 20), seed=st.integers(0, 2**31 - 1))
def test_every_record_comes_once_in_each_epoch(count: int, batch: int, seed: int):
    steps = [order.records(count, batch, step, seed=seed) for step in range(2 * count)]
    drawn = np.concatenate(steps)[: 2 * count]
    assert sorted(drawn[:count]) == list(range(count))
    assert sorted(drawn[count:]) == list(range(count))


@settings(deadline=None)
@given(count=COUNTS, batch=st.integers(1, 20), step=st.integers(0, 50))
def test_a_step_asked_for_alone_is_the_one_of_a_whole_run(count: int, batch: int, step: int):
    alone = order.records(count, batch, step, seed=3)
    in_a_run = [order.records(count, batch, s, seed=3) for s in range(step + 1)][step]
    assert alone.tolist() == in_a_run.tolist()
    assert len(alone) == batch


@settings(deadline=None)
@given(lone=COUNTS, records=COUNTS, batch=st.integers(1, 20))
def test_lone_documents_are_spread_evenly(lone: int, records: int, batch: int):
    steps = 3 * records
    sizes = [len(order.lone(lone, records, batch, step, seed=0)) for step in range(steps)]
    assert sum(sizes) == steps * batch * lone // records
    assert max(sizes) - min(sizes) <= 1


def test_seeds_and_epochs_give_different_orders():
    first = order.records(50, 50, 0, seed=1).tolist()
    assert first != order.records(50, 50, 0, seed=2).tolist()
    assert first != order.records(50, 50, 1, seed=1).tolist()
    assert first == pytest.approx(order.records(50, 50, 0, seed=1).tolist())
