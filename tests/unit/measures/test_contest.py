"""What is told of student and teacher, worst queries included."""

import numpy as np
import pytest
from distill_api.outcome import Evaluation
from distill_trainer.measures import contest, quality
from distill_trainer.measures.contest import Contest, Pair
from distill_trainer.measures.speed import Timings

TEXTS = ["q0", "q1", "q2", "d0", "d1", "d2"]
BENCH = quality.Bench(
    np.array([0, 1, 2]),
    np.array([3, 4, 5]),
    {row: frozenset({row}) for row in range(3)},
    TEXTS,
)
EYE = np.eye(3, dtype=np.float32)
# The student takes the first two documents for each other, so two of three queries fail at first.
CONFUSED = np.array([[0.4, 0.6, 0.1], [0.6, 0.4, 0.2], [0, 0, 1]], dtype=np.float32)
EVALUATION = Evaluation.model_validate({"bootstrapSamples": 200})


@pytest.fixture(scope="module")
def measured() -> Contest:
    wanted = contest.measures(EVALUATION)
    results = Pair(
        quality.result(BENCH, wanted, CONFUSED, EYE), quality.result(BENCH, wanted, EYE, EYE)
    )
    return Contest(
        bench=BENCH,
        results=results,
        retentions=contest.retentions(results, EVALUATION, seed=0),
        timings=Pair(Timings((0.001, 0.002), (300.0,)), Timings((0.01,), (90.0, 100.0, 110.0))),
        parameters=Pair(10, 40),
        widths={},
    )


def test_the_status_has_every_number(measured: Contest):
    status = contest.status(measured, EVALUATION)
    by_name = {score.measure: score for score in status.scores}
    assert set(by_name) == {"R@1", "R@10", "nDCG@10", "AP", "RR"}
    assert (by_name["R@1"].student, by_name["R@1"].teacher) == ("0.3333", "1.0000")
    assert by_name["R@1"].retention == "0.3333"
    assert by_name["RR"].student == "0.6667"
    assert status.speedup == "3.000"
    assert status.student.p50_milliseconds == "1.500"
    assert status.teacher.items_per_second == "100.0"
    assert (status.queries, status.documents) == (3, 3)
    assert status.verdict == "Missed"


def test_regressions_and_the_worst_queries_are_found(measured: Contest):
    assert contest.facts(measured) == {"regressions": "2", "errorExamples": "2"}
    told = [contest.described(measured, mistake) for mistake in contest.worst(measured)]
    assert [t["query"] for t in told] == ["q0", "q1"]
    assert told[0]["answer"] == "d0"
    assert told[0]["studentFirst"] == "d1"
    assert (told[0]["studentRank"], told[0]["teacherRank"]) == (2, 1)
    assert told[0]["lost"] == pytest.approx(1 - 1 / np.log2(3), abs=1e-4)


def test_measures_that_a_gate_needs_are_measured():
    asked = Evaluation.model_validate(
        {"measures": ["R@1"], "gates": [{"measure": "R@1"}, {"measure": "RR@10"}]}
    )
    assert contest.measures(asked) == ["R@1", "RR@10", "nDCG@10"]


def test_scores_by_width_search_with_cut_embeddings():
    wide = np.array([[1, 0, 5], [1, 0, -5], [0, 1, 0]], dtype=np.float32)
    found = quality.by_width(BENCH, "R@1", wide, wide, [3, 2])
    assert found[3] == 1.0
    # Cut to two dimensions the first two documents are alike.
    assert found[2] == pytest.approx(2 / 3)
