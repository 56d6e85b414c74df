"""The recall that transforms add: BM25 by its formula, the union of results, the lift."""

import math

import numpy as np
import pytest
from distill_api.outcome import Evaluation
from distill_trainer.measures import gates, lexical, lifting
from distill_trainer.measures.contest import Pair
from distill_trainer.measures.lifting import Bench, Recalls
from distill_trainer.texts.querying import Query

DOCUMENTS = ["the red fox", "a fox and a fox in the long grass", "blue whale", "nothing here"]


def test_documents_are_weighed_by_bm25():
    index = lexical.index(DOCUMENTS)
    (found,) = lexical.search(index, ["fox red red"])
    assert found.tolist() == [0, 1]
    place = index.vectorizer.vocabulary_["fox"]
    mean = sum(len(text.split()) for text in DOCUMENTS) / 4
    idf = math.log(1 + (4 - 2 + 0.5) / (2 + 0.5))
    expected = idf * 2 / (2 + 1.2 * (1 - 0.75 + 0.75 * 9 / mean))
    assert index.weights[1, place] == pytest.approx(expected)


def test_nothing_is_found_without_a_word_in_common():
    index = lexical.index(DOCUMENTS)
    assert [len(found) for found in lexical.search(index, ["zebra", "", "whale"])] == [0, 0, 1]
    assert len(lexical.search(lexical.index(["!", "?"]), ["a"])[0]) == 0


def test_a_union_is_led_by_what_several_searches_found():
    rankings = [np.array([5, 1, 2]), np.array([3, 1]), np.array([4, 1])]
    assert lexical.union(rankings).tolist() == [1, 3, 4, 5, 2]
    assert lexical.union([np.array([2, 0])]).tolist() == [2, 0]


def bench(*, replaces: bool) -> Bench:
    queries = [Query("fox"), Query("sea animal"), Query("zebra")]
    relevant = {0: frozenset({0, 1}), 1: frozenset({2}), 2: frozenset({3})}
    return Bench(queries, DOCUMENTS, relevant, replaces=replaces)


def test_the_lift_is_what_transforms_find_beyond_the_query():
    written = Pair([("red",), (), ("stripes",)], [("red",), ("blue whale",), ("nothing",)])
    recalls = lifting.measure(bench(replaces=False), written)
    assert recalls.alone.tolist() == [1, 0, 0]
    assert recalls.lifts.student.tolist() == [0, 0, 0]
    assert recalls.lifts.teacher.tolist() == [0, 1, 1]


def test_a_rewrite_is_searched_instead_and_nothing_leaves_the_query_as_it_is():
    written = Pair([("whale",), (), ()], [("red",), (), ()])
    recalls = lifting.measure(bench(replaces=True), written)
    assert recalls.found.student.tolist() == [0, 0, 0]
    assert recalls.lifts.student.tolist() == [-1, 0, 0]
    assert recalls.found.teacher.tolist() == [0.5, 0, 0]


def test_a_share_of_no_lift_is_no_score():
    same = Recalls(np.array([1.0, 0.5]), Pair(np.array([1.0, 1.0]), np.array([1.0, 0.5])))
    evaluation = Evaluation.model_validate({"gates": [{"measure": "RecallLift"}]})
    kept = lifting.retentions(same, evaluation, seed=1)
    assert kept["RecallLift"] is None
    assert kept["R@10"] is not None
    verdict = gates.judge(evaluation, kept, speedup=1)
    assert verdict.verdict == "Missed"
    assert "the teacher itself scores 0" in verdict.explanation


def test_the_share_is_of_the_mean_lifts_with_its_interval():
    generator = np.random.default_rng(0)
    alone = np.zeros(400)
    teacher = (generator.random(400) < 0.5).astype(float)
    student = teacher * (generator.random(400) < 0.8)
    recalls = Recalls(alone, Pair(student, teacher))
    kept = lifting.retentions(recalls, Evaluation(), seed=1)["RecallLift"]
    assert kept is not None
    assert kept.value == pytest.approx(student.sum() / teacher.sum())
    assert kept.low < 0.8 < kept.high
    assert kept.high - kept.low < 0.15
