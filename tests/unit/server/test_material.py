"""The same queries, documents and pairs are chosen after every restart."""

import random

import numpy as np
import pytest
from distill_common.rows import BadRows, Record
from distill_server.once import Once
from distill_server.prober import material, scoring
from distill_server.prober.ledger import Ledger, Run
from hypothesis import given
from hypothesis import strategies as st

RECORDS = [Record(f"d{n}", f"q{n % 20}", negatives=(f"n{n}",)) for n in range(40)]
RUN = Run("sha256:m", "sha256:t", "sha256:s")


@given(st.randoms(use_true_random=False), st.integers(1, 25), st.integers(2, 90))
def test_the_order_of_the_data_chooses_nothing(
    shuffle: random.Random, queries: int, documents: int
):
    mixed = list(RECORDS)
    shuffle.shuffle(mixed)
    one = material.choose(RECORDS, queries=queries, documents=documents)
    other = material.choose(mixed, queries=queries, documents=documents)
    assert other == one
    assert len(one.queries) == min(queries, 20)
    for query in one.queries:
        rows = one.candidates(query)
        assert len(rows) == len(set(rows)) <= max(documents, len(query.relevant))
        assert tuple(rows[: len(query.relevant)]) == query.relevant
        number = query.text.removeprefix("q")
        assert {one.documents[row] for row in query.relevant} == {
            f"d{number}", f"d{int(number) + 20}"
        }  # fmt: skip


def test_a_known_relevance_of_zero_is_no_answer():
    rows = [Record("d1", "q", score=1.0), Record("d2", "q", score=0.0), Record("d3")]
    found = material.choose(rows, queries=10, documents=10)
    (query,) = found.queries
    assert [found.documents[row] for row in query.relevant] == ["d1"]
    assert [found.documents[row] for row in query.rejected] == ["d2"]


@pytest.mark.parametrize("rows", [[], [Record("d1")], [Record("d1", "q")]])
def test_data_that_measures_nothing_is_refused(rows: list[Record]):
    with pytest.raises(BadRows, match="The data has"):
        material.choose(rows, queries=10, documents=10)


@given(st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=40))
def test_pairs_are_handed_over_in_order_once_all_before_them_are_settled(
    events: list[tuple[int, bool]],
):
    ledger = Ledger(RUN, ("ndcg",), 12)
    known: dict[int, bool] = {}
    for number, works in events:
        new = ledger.settle(number, {"ndcg": (0.5, number / 12)} if works else None)
        assert new == (number not in known)
        known.setdefault(number, works)
    told = ledger.after(0)
    assert all(n in known for n in range(1, told.total + 1))
    assert told.total + 1 not in known
    assert told.numbers == [n for n in range(1, told.total + 1) if known[n]]
    assert told.scores["ndcg"] == [(0.5, n / 12) for n in told.numbers]
    later = ledger.after(3)
    assert later.numbers == [n for n in told.numbers if n > 3]


def test_a_run_is_named_after_what_is_compared():
    again = Ledger(Run("sha256:m", "sha256:t", "sha256:s"), (), 1)
    other = Ledger(Run("sha256:m", "sha256:t", "sha256:s2"), (), 1)
    assert Ledger(RUN, (), 1).after(0).run == again.after(0).run != other.after(0).run


def test_measures_are_those_of_the_ranking_and_ties_find_nothing():
    scores = np.array([0.5, 0.9, 0.1, 0.0], dtype=np.float32)
    found = scoring.measured(scores, 1, {"ndcg": "nDCG@10", "first": "R@1", "rr": "RR"})
    assert found["ndcg"] == pytest.approx(1 / np.log2(3))
    assert (found["first"], found["rr"]) == (0.0, 0.5)
    tied = scoring.measured(np.zeros(50, dtype=np.float32), 1, {"rr": "RR", "ndcg": "nDCG@10"})
    assert tied == {"rr": pytest.approx(1 / 50), "ndcg": 0.0}


def test_what_was_seen_is_remembered_within_a_bound():
    once = Once(2)
    assert [once.first(key) for key in "aabba"] == [True, False, True, False, False]
    assert once.first("c")
    assert once.first("b")
    assert not once.first("c")
