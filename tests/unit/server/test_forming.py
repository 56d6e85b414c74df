"""Batches hold the oldest, stay within their limits, and pad little."""

import numpy as np
import pytest
from distill_common.tokens import Padding, Tokens, rectangle
from distill_server.batching.forming import Limits, next_batch
from hypothesis import given
from hypothesis import strategies as st

LENGTHS = st.lists(st.integers(1, 600), min_size=1, max_size=200)
LIMITS = st.builds(Limits, sequences=st.integers(1, 64), tokens=st.integers(1, 4096))


@given(lengths=LENGTHS, limits=LIMITS)
def test_a_batch_holds_the_oldest_and_keeps_its_limits(lengths: list[int], limits: Limits):
    batch = next_batch(lengths, limits)
    assert 0 in batch
    assert len(set(batch)) == len(batch) <= limits.sequences
    padded = len(batch) * max(lengths[i] for i in batch)
    assert padded <= limits.tokens or batch == [0]


@given(lengths=LENGTHS)
def test_a_batch_is_a_run_of_neighbours_by_length(lengths: list[int]):
    batch = set(next_batch(lengths, Limits(8, 100_000)))
    inside = [lengths[i] for i in batch]
    between = {i for i, n in enumerate(lengths) if min(inside) < n < max(inside)}
    assert between <= batch


CASES = [
    ("all fit", [3, 1, 2], Limits(4, 100), {0, 1, 2}),
    ("as many as allowed, the shorter neighbours first", [5, 9, 4, 6], Limits(2, 100), {0, 2}),
    (
        "a long one does not widen a short batch beyond its tokens",
        [2, 50, 2],
        Limits(8, 20),
        {0, 2},
    ),
    ("longer than any batch goes alone", [90, 3], Limits(8, 20), {0}),
]


@pytest.mark.parametrize(("why", "lengths", "limits", "expected"), CASES, ids=[c[0] for c in CASES])
def test_next_batch(why: str, lengths: list[int], limits: Limits, expected: set[int]):
    assert set(next_batch(lengths, limits)) == expected


def test_rows_are_filled_at_the_end_that_the_tokenizer_names():
    batch = [
        Tokens({"input_ids": np.array(ids), "attention_mask": np.ones(len(ids), dtype=np.int64)})
        for ids in ([5, 6, 7], [8])
    ]
    right = rectangle(batch, Padding(token=9))
    left = rectangle(batch, Padding(token=9, left=True))
    assert right["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert right["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert left["input_ids"].tolist() == [[5, 6, 7], [9, 9, 8]]
    assert left["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
