"""Filters, splits, leaks, hard negatives and sufficiency."""

from collections.abc import Sequence

import numpy as np
import pytest
from distill_api.data import Data, Filter, HardNegatives, Splits
from distill_trainer.errors import BadInput
from distill_trainer.preparing import card, filters, grouping, near, negatives, splits, sufficiency
from distill_trainer.preparing.filters import Candidates
from distill_trainer.preparing.negatives import Anchor, Pool
from hypothesis import given
from hypothesis import strategies as st


def candidates(pairs: Sequence[tuple[str, str]], scores: Sequence[float]) -> Candidates:
    return Candidates(
        queries=[query for query, _ in pairs],
        documents=[document for _, document in pairs],
        lengths=np.array([[len(query), len(document)] for query, document in pairs]),
        scores=np.array(scores, dtype=np.float32),
    )


def test_each_record_is_dropped_for_its_first_reason():
    rows = candidates(
        [("q", "d"), ("q", "d"), ("", "d"), ("q", "x" * 11), ("q2", "d2")],
        [0.9, 0.9, 0.9, 0.9, 0.1],
    )
    settings = Filter(min_characters=1, max_characters=10, min_teacher_confidence=0.2)
    assert filters.reasons(rows, settings) == [
        None,
        filters.DUPLICATE,
        filters.SHORT,
        filters.LONG,
        filters.UNCERTAIN,
    ]


def test_outliers_are_told_by_the_records_that_are_left():
    scores = [0.5] * 20 + [-0.9, 0.5]
    rows = candidates([(f"q{n}", "d") for n in range(21)] + [("q0", "d")], scores)
    found = filters.reasons(rows, Filter(outlier_deviations=3))
    assert found[20] == filters.OUTLIER
    assert found[:20] == [None] * 20
    assert found[21] == filters.DUPLICATE


def test_duplicates_stay_when_asked_for():
    rows = candidates([("q", "d")] * 3, [0.5] * 3)
    assert filters.reasons(rows, Filter(remove_duplicates=False)) == [None] * 3


def test_groups_fall_into_splits_in_the_given_shares():
    assigned = [splits.assign(f"group {n}", Splits()) for n in range(5000)]
    shares = {name: assigned.count(name) / 5000 for name in splits.ORDER}
    assert shares == pytest.approx({"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.02)


def test_a_groups_split_is_fixed_for_ever():
    # Written down, not computed: another hash would move every user's records between splits.
    expected = {
        "group:json": "test",
        "group:csv": "train",
        "group:7": "validation",
        "group:ä": "validation",
        "text:what is a tuple": "train",
    }
    assert {group: splits.assign(group, Splits()) for group in expected} == expected


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(10, 18)), max_size=40))
def test_records_that_share_a_text_are_in_one_group(pairs: list[tuple[int, int]]):
    roots = splits.connected(pairs)
    assert len(roots) == len(pairs)
    for pair, root in zip(pairs, roots, strict=True):
        for other, other_root in zip(pairs, roots, strict=True):
            if set(pair) & set(other):
                assert root == other_root


def test_groups_that_share_nothing_stay_apart():
    assert len(set(splits.connected([(0, 10), (1, 11), (2, 11), (3, 12)]))) == 3


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.sampled_from(splits.ORDER)),
        max_size=30,
    )
)
def test_after_leaks_are_dropped_no_text_of_the_test_is_in_training(
    rows: list[tuple[str, str, str]],
):
    pairs = [(query, document) for query, document, _ in rows]
    assigned = [split for *_, split in rows]
    leaking = splits.leaks(pairs, assigned)
    kept = [index for index, leaks in enumerate(leaking) if not leaks]
    counted = card.leakage([pairs[i] for i in kept], [assigned[i] for i in kept])
    assert counted == {"queries": 0, "documents": 0}
    assert all(not leaking[i] for i, split in enumerate(assigned) if split == "test")


def a_pool(vectors: np.ndarray) -> Pool:
    return Pool(np.arange(len(vectors), dtype=np.int32), negatives.unit(vectors))


def test_a_hand_made_case_of_mining():
    # Documents at 10°, 20°, 30°, 60° from the query; the positive is the one at 10°.
    angles = np.radians([10, 20, 30, 60, 0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    anchor = Anchor(query=4, positive=float(np.cos(angles[0])), known=frozenset({0}))
    settings = HardNegatives(per_query=2, range_min=0, range_max=10, relative_margin=0.05)
    mined = negatives.mine([anchor], vectors, a_pool(vectors[:4]), settings)
    # cos 20° = 0.940 lies above 0.95 · cos 10° = 0.936, so 30° and 60° are left.
    assert mined.tolist() == [[2, 3]]


def test_the_nearest_are_skipped_and_missing_places_filled():
    angles = np.radians([10, 40, 50, 60, 0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    anchor = Anchor(query=4, positive=0.98, known=frozenset({0}), given=(3,))
    settings = HardNegatives(per_query=3, range_min=1, range_max=10)
    assert negatives.mine([anchor], vectors, a_pool(vectors[:4]), settings).tolist() == [[3, 2, -1]]


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(0, 3))
def test_mined_documents_obey_every_rule(seed: int, per_query: int, skipped: int):
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(40, 8)).astype(np.float32)
    pool = a_pool(vectors[:30])
    known = [frozenset({n, 29 - n}) for n in range(10)]
    scores = negatives.unit(vectors[30:]) @ pool.vectors.T
    anchors = [Anchor(30 + n, float(scores[n, n]), known[n]) for n in range(10)]
    settings = HardNegatives(per_query=per_query, range_min=skipped, range_max=20)
    mined = negatives.mine(anchors, vectors, pool, settings)
    assert mined.shape == (10, per_query)
    for n, row in enumerate(mined):
        # The oracle: sort everything, then apply the rules one after the other.
        order = sorted(range(30), key=lambda d: (-scores[n, d], d))
        others = [d for d in order if d not in known[n]][skipped:20]
        allowed = [d for d in others if scores[n, d] <= anchors[n].positive * 0.95][:per_query]
        assert row.tolist() == allowed + [-1] * (per_query - len(allowed))


def test_three_rows_are_refused_before_the_teacher_works():
    with pytest.raises(BadInput, match=r"The data has 3 records.*at least 20 are needed"):
        sufficiency.check_pairs(3, 3)


def test_copies_are_told():
    with pytest.raises(BadInput, match=r"500 records .*, 499 of them repeat another one"):
        sufficiency.check_pairs(1, 500)


def test_small_splits_are_refused_with_what_was_dropped():
    with pytest.raises(BadInput) as caught:
        sufficiency.check_splits(
            {"train": 100, "validation": 4, "test": 0}, {"duplicates": 12, "outliers": 0}
        )
    assert "100 for train, 4 for validation, 0 for test" in caught.value.sentence
    assert "Thrown away: 12 duplicates." in caught.value.sentence
    assert "maxTokens" not in caught.value.sentence


def test_answers_that_were_cut_off_are_told_with_what_lets_them_end():
    counts = {"train": 5, "validation": 0, "test": 0}
    with pytest.raises(BadInput, match=r"115 truncated at maxTokens. Raise .*maxTokens, or ask"):
        sufficiency.check_splits(counts, {"truncated at maxTokens": 115})


def test_spread_of_nothing_is_nothing():
    assert card.spread([]) == {}
    assert card.spread([1, 2, 3])["p50"] == 2


def test_near_duplicates_are_in_one_group_and_counted():
    pairs = [("what is a list?", "it is"), ("what is a list", "it is!"), ("a tuple", "other")]
    groups = grouping.groups_of([None] * 3, pairs)
    assert groups == ["text:what is a list?", "text:what is a list?", "text:a tuple"]
    assert near.repeats(pairs) == 1


def test_a_near_duplicate_in_a_named_group_is_no_leak_into_training():
    rows = [("what is a list?", "d"), ("what is a list", "e")]
    assert splits.leaks(rows, ["test", "train"]) == [False, True]
    assert card.leakage(rows, ["test", "train"]) == {"queries": 1, "documents": 0}


def test_close_queries_are_counted():
    train = negatives.unit(np.array([[1, 0], [0, 1]], dtype=np.float32))
    test = negatives.unit(np.array([[1, 0.05], [1, 1]], dtype=np.float32))
    told = {"by": "the teacher's embeddings", "cosine": 0.98, "queries": 1, "of": 2, "share": 0.5}
    assert card.close(test, train) == told
    assert card.close(test[:0], train) == {}


def rows_of(groups: Sequence[str | None]) -> sufficiency.Rows:
    """Make different records of some groups; the first row of the data has number 1."""
    first = {group: groups.index(group) + 1 for group in dict.fromkeys(groups) if group is not None}
    pairs = [(f"query {n}", f"document {n}") for n in range(len(groups))]
    return sufficiency.Rows(pairs, groups, first)


DATA = Data.model_validate({"source": {"uri": "file:///data.jsonl"}})


def test_a_class_with_one_row_that_has_to_fill_a_split_is_named():
    # By their hashes "csv" is of train, "json" of test, "7" of validation.
    with pytest.raises(BadInput) as caught:
        sufficiency.check_divided(rows_of(["csv"] * 40 + ["json"] * 9 + ["7"]), DATA)
    sentence = caught.value.sentence
    assert "40 for train, 1 for validation, 9 for test" in sentence
    assert 'The data has 3 groups: validation has 1 of the group "7" (first in row 50).' in sentence


def test_data_of_enough_groups_is_not_refused():
    sufficiency.check_divided(rows_of(["csv"] * 40 + ["json"] * 9 + ["7"] * 5), DATA)
    sufficiency.check_divided(rows_of([None] * 400), DATA)


def test_data_that_is_one_web_of_shared_texts_is_refused_before_the_teacher_works():
    pairs = [(f"query {n // 2}", f"document {(n + 1) // 2}") for n in range(100)]
    with pytest.raises(BadInput, match=r"Too few records are left.*at least 10 for train"):
        sufficiency.check_divided(sufficiency.Rows(pairs, [None] * 100, {}), DATA)


def test_close_queries_are_counted_by_their_letters_too():
    train = ["how are two lists joined", "open a file for writing"]
    test = ["How are two lists joined?", "what is a set", "open a file"]
    found = card.close_by_letters([text.casefold() for text in test], train)
    assert (found["queries"], found["of"], found["by"]) == (1, 3, "their letters")
    assert card.close_by_letters([], train) == {}
