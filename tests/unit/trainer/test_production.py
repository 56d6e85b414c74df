"""Production traffic is told from the training data where it differs, and only there."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distill_api.names import Reason, Stage
from distill_trainer import fingerprints
from distill_trainer.errors import BadInput, TryAgain
from distill_trainer.preparing import near, production
from distill_trainer.preparing.production import Traffic
from trainer import a_context, a_task, write_jsonl

WORDS = [f"word{n}" for n in range(300)]
OTHER = [f"other{n}" for n in range(300)]


def traffic(words: list[str], count: int, seed: int, most: int = 6) -> Traffic:
    """Make queries whose words are as skewed as language."""
    draw = random.Random(seed)  # noqa: S311 - texts, not secrets
    weights = [1 / (place + 3) for place in range(len(words))]
    queries = [
        " ".join(draw.choices(words, weights, k=draw.randint(2, most))) for _ in range(count)
    ]
    return Traffic(queries, [None] * count)


def compared(training: Traffic, sample: Traffic) -> dict[str, Any]:
    return production.compare(training, sample, seed=1)


def test_traffic_of_the_same_kind_matches():
    found = compared(traffic(WORDS, 900, 1), traffic(WORDS, 700, 2))
    assert found["verdict"] == "matches"
    assert found["classifier"]["low"] < 0.55
    assert found["lengths"]["divergence"] < 0.01
    assert found["sentence"].startswith("Training is like production: a classifier tells")


def test_queries_that_production_repeats_do_not_look_like_a_shift():
    sample = traffic(WORDS, 150, 2)
    head = Traffic(sample.queries[:3] * 120 + list(sample.queries), [None] * 510)
    found = compared(traffic(WORDS, 900, 1), head)
    assert found["verdict"] != "differs"
    assert found["different"] <= 150


def test_other_words_differ():
    found = compared(traffic(WORDS, 300, 1), traffic(OTHER, 200, 2))
    assert found["verdict"] == "differs"
    assert found["classifier"]["auc"] > 0.95
    assert found["unseen"] == 1
    assert found["unknown_words"] == 1
    assert found["frequent_unknown"][0] == "other0"


def test_other_lengths_differ():
    found = compared(traffic(WORDS, 400, 1), traffic(WORDS, 400, 2, most=40))
    assert found["verdict"] == "differs"
    assert found["lengths"]["divergence"] > production.DIVERGES


def test_other_shares_of_groups_differ():
    training, sample = traffic(WORDS, 400, 1), traffic(WORDS, 400, 2)
    training = Traffic(training.queries, ["a"] * 360 + ["b"] * 40)
    sample = Traffic(sample.queries, ["a"] * 40 + ["b"] * 360)
    found = compared(training, sample)
    assert found["groups"]["divergence"] == pytest.approx(0.531 - 0.0009, abs=0.002)
    assert found["verdict"] == "differs"


def test_a_small_sample_is_not_called_the_same():
    found = compared(traffic(WORDS, 60, 1), traffic(WORDS, 55, 2))
    assert found["verdict"] in {"undecided", "matches"}
    assert found["classifier"]["high"] - found["classifier"]["low"] > 0.15


def test_the_comparison_is_the_same_in_every_run():
    sides = traffic(WORDS, 200, 1), traffic(WORDS, 100, 2)
    assert compared(*sides) == compared(*sides)


def test_divergence_by_hand():
    many = 1e9  # so that chance takes nothing off
    assert production.divergence(np.array([many, 0]), np.array([0, many])) == 1
    assert production.divergence(np.array([many, many]), np.array([many, many])) == 0
    # p = (1, 0), q = (1/2, 1/2): 1/2 log2(4/3) + 1/2 (1/2 log2(2/3) + 1/2 log2 2) = 0.3113
    found = production.divergence(np.array([many, 0]), np.array([many, many]))
    assert found == pytest.approx(0.3113, abs=1e-4)


def test_the_error_of_the_area_by_hand():
    # A = 0.5 of 10 and 10: Q1 = Q2 = 1/3; (1/4 + 9/12 + 9/12) / 100 = 0.0175
    assert production._auc_error(0.5, 10, 10) == pytest.approx(0.0175**0.5)


def a_sample(folder: Path, rows: list[dict[str, Any]], **source: Any) -> Traffic | None:
    write_jsonl(folder / "sample.jsonl", rows)
    data = {"source": {"uri": "file:///nowhere.jsonl"},
            "productionSample": {"uri": f"file://{folder}/sample.jsonl", **source}}  # fmt: skip
    return production.sample(a_context(a_task(folder, Stage.PREPARE, data=data), folder))


def test_a_sample_needs_queries_only(tmp_path: Path):
    found = a_sample(tmp_path, [{"query": f"q {n}"} for n in range(60)] + [{"query": " "}])
    assert found is not None
    assert len(found.queries) == 60
    assert found.empty == 1
    assert found.digest.startswith("sha256:")


SAMPLES: list[tuple[str, list[dict[str, Any]], str]] = [
    ("few", [{"query": f"q {n % 7}"} for n in range(90)], "has 7 different queries: at least 50"),
    ("another column", [{"question": "q"}] * 90, "spec.data.productionSample: The data has rows"),
    ("no text", [{"query": 5}], 'sample.jsonl line 1: column "query" is a number'),
]  # fmt: skip


@pytest.mark.parametrize(("why", "rows", "expected"), SAMPLES, ids=[case[0] for case in SAMPLES])
def test_a_sample_that_tells_nothing_is_bad_data(
    tmp_path: Path, why: str, rows: list[dict[str, Any]], expected: str
):
    with pytest.raises(BadInput) as caught:
        a_sample(tmp_path, rows)
    assert caught.value.reason is Reason.BAD_DATA
    assert expected in caught.value.sentence


def test_a_sample_that_is_not_there_is_named(tmp_path: Path):
    data = {"source": {"uri": "file:///nowhere.jsonl"},
            "productionSample": {"uri": "file:///not/there.jsonl"}}  # fmt: skip
    context = a_context(a_task(tmp_path, Stage.PREPARE, data=data), tmp_path)
    with pytest.raises((BadInput, TryAgain), match=r"spec\.data\.productionSample\.uri"):
        production.sample(context)


def test_a_sample_changes_no_label(tmp_path: Path):
    plain = {"source": {"uri": "file:///data.jsonl"}}
    with_sample = {**plain, "productionSample": {"uri": "file:///logs.jsonl"}}
    tasks = [a_task(tmp_path, Stage.PREPARE, data=data) for data in (plain, with_sample)]
    labels = [fingerprints.label(task.spec, teacher="t", data="d") for task in tasks]
    asked = [fingerprints.label_request(task.spec) for task in tasks]
    prepared = [fingerprints.prepare(task, "l") for task in tasks]
    assert labels[0] == labels[1]
    assert asked[0] == asked[1]
    assert prepared[0] != prepared[1]


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("What is a list?", "what is a  LIST", True),
        ("ﬁle open", "file open!", True),
        ("full\u3000width Ａ", "full width a", True),
        ("don't", "dont", False),
        ("???", "!!!", False),
        ("list", "lists", False),
    ],
)
def test_texts_are_near_where_only_marks_differ(left: str, right: str, same: bool):  # noqa: FBT001 - a table's column
    assert (near.loose(left) == near.loose(right)) is same
