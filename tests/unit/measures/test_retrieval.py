"""Search and retrieval's measures, against values by hand."""

import math

import pytest
import torch
from distill_trainer.measures import retrieval

# Query 0 finds documents 2, 0, 1; query 1 finds 1, 0, 2.
QUERIES = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
DOCUMENTS = torch.tensor([[3.0, 1.0], [1.0, 5.0], [9.0, 1.0]])


def test_the_nearest_come_first():
    found = retrieval.search(QUERIES, DOCUMENTS, depth=10)
    assert found.documents.tolist() == [[2, 0, 1], [1, 0, 2]]
    assert found.scores[0, 0] == pytest.approx(9 / math.sqrt(82), abs=1e-6)


def test_the_depth_bounds_what_is_found():
    assert retrieval.search(QUERIES, DOCUMENTS, depth=2).documents.shape == (2, 2)


def test_measures_by_hand():
    ranking = retrieval.search(QUERIES, DOCUMENTS, depth=10)
    relevant = {0: frozenset({0}), 1: frozenset({1, 2})}
    found = retrieval.per_query(["R@1", "R@10", "nDCG@10", "AP", "RR"], relevant, ranking)
    # Query 0: its answer is second. Query 1: its answers are first and third.
    assert found["R@1"].tolist() == pytest.approx([0, 0.5])
    assert found["R@10"].tolist() == pytest.approx([1, 1])
    best = 1 + 1 / math.log2(3)
    assert found["nDCG@10"].tolist() == pytest.approx([1 / math.log2(3), 1.5 / best], abs=1e-4)
    assert found["AP"].tolist() == pytest.approx([0.5, (1 + 2 / 3) / 2], abs=1e-4)
    assert found["RR"].tolist() == pytest.approx([0.5, 1])


def test_an_answer_below_the_depth_counts_nothing():
    ranking = retrieval.search(QUERIES, DOCUMENTS, depth=1)
    found = retrieval.per_query(["AP"], {0: frozenset({1}), 1: frozenset({1})}, ranking)
    assert found["AP"].tolist() == [0, 1]


def test_equal_scores_keep_the_order_of_the_search():
    ranking = retrieval.search(torch.ones(1, 2), torch.ones(40, 2), depth=40)
    first = int(ranking.documents[0, 0])
    found = retrieval.per_query(["RR"], {0: frozenset({first})}, ranking)
    assert found["RR"].tolist() == [1]


def test_a_query_without_an_answer_is_refused():
    ranking = retrieval.search(QUERIES, DOCUMENTS, depth=3)
    with pytest.raises(ValueError, match="at least one relevant document"):
        retrieval.per_query(["RR"], {0: frozenset({0})}, ranking)
