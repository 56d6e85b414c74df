"""The verdict and its sentence."""

from typing import Literal

import pytest
from distill_api.outcome import Evaluation
from distill_trainer.measures import gates, telling
from distill_trainer.measures.bootstrap import Retention

KEPT = {"nDCG@10": Retention(0.95, 0.93, 0.97), "R@1": Retention(0.90, 0.88, 0.92), "AP": None}

CASES = [
    ("the default gate holds", {}, 1.0, "Passed"),
    ("no gate at all", {"gates": []}, 1.0, "Passed"),
    ("exactly on the limit", {"gates": [("nDCG@10", 0.95)]}, 1.0, "Passed"),
    ("just above what was kept", {"gates": [("nDCG@10", 0.951)]}, 1.0, "Missed"),
    ("one of two is missed", {"gates": [("nDCG@10", 0.9), ("R@1", 0.95)]}, 1.0, "Missed"),
    ("the teacher itself scores 0", {"gates": [("AP", 0.1)]}, 1.0, "Missed"),
    ("fast enough", {"minSpeedup": 3}, 3.0, "Passed"),
    ("too slow", {"minSpeedup": 3}, 2.99, "Missed"),
]


@pytest.mark.parametrize(("why", "spec", "speedup", "expected"), CASES, ids=[c[0] for c in CASES])
def test_judge(why: str, spec: dict[str, object], speedup: float, expected: str):
    if "gates" in spec:
        asked = [{"measure": m, "minRetention": least} for m, least in spec["gates"]]
        spec = spec | {"gates": asked}
    found = gates.judge(Evaluation.model_validate(spec), KEPT, speedup)
    assert found.verdict == expected
    assert found.explanation


def test_the_sentence_names_numbers_and_what_was_asked():
    asked = Evaluation.model_validate(
        {"gates": [{"measure": "R@1", "minRetention": 0.95}], "minSpeedup": 2}
    )
    told = gates.judge(asked, KEPT, 3.5).explanation
    assert told == (
        "Missed: R@1 keeps 90.0% of the teacher's (interval 88.0% to 92.0%, at least 95.0% asked)."
        " Held: speed-up 3.50 (at least 2 was asked)."
    )


def test_the_sentence_rounds_as_the_report_does_that_reads_the_status():
    kept = Retention(1.14449, 1.06349, 1.23751)
    asked = Evaluation.model_validate({"minSpeedup": 2.5})
    told = gates.judge(asked, {"nDCG@10": kept}, 7.5649).explanation
    of_status = telling.score("nDCG@10", 0.4793, 0.4188, kept).retention
    assert of_status == "1.1445"
    assert "keeps 114.5% of the teacher's (interval 106.3% to 123.8%" in told
    assert f"speed-up {float(telling.speedup(7.5649)):.2f} (" in told


MISSED_BY_LITTLE = [
    (0.94996, 0.95, "%", 1, "94.996%"),
    (0.95, 0.95, "%", 1, "95.0%"),
    (2.4996, 2.5, "f", 2, "2.4996"),
    (250.04, 250, "f", 1, "250.04"),
    (1e-15, 0, "f", 1, "0.0"),
]


@pytest.mark.parametrize(("value", "limit", "form", "decimals", "expected"), MISSED_BY_LITTLE)
def test_a_number_beside_its_limit_never_looks_like_it(
    value: float, limit: float, form: Literal["f", "%"], decimals: int, expected: str
):
    assert telling.beside(value, limit, kept=4, decimals=decimals, form=form) == expected
