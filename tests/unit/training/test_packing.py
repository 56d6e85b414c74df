"""Several answers in one row: which go together, and that none sees another."""

import numpy as np
import pytest
import tiny_causal
import torch
from distill_trainer.errors import BadInput
from distill_trainer.students.causal import Causal
from distill_trainer.training import causal_pass, packing, sequences
from distill_trainer.training.causal_pass import Wanted
from distill_trainer.training.sequences import Taught
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

CPU = torch.device("cpu")


def answers(*lengths: int, seed: int = 0) -> list[Taught]:
    """Draw answers of so many tokens, half of them the prompt's."""
    random = np.random.default_rng(seed)
    drawn = [random.integers(8, 60, length) for length in lengths]
    return [Taught(ids[: len(ids) // 2], ids[len(ids) // 2 :]) for ids in drawn]


def seen(model: Causal, rows: list[list[Taught]]) -> list[Tensor]:
    """Return what a model makes of each answer, in the order of the rows."""
    batch = sequences.lay(rows, 2, CPU)
    wanted = Wanted(layers=[0])
    with torch.no_grad():
        hidden = causal_pass.look(model, batch, wanted).hidden
    return list(torch.split(hidden, [len(one.target) for row in rows for one in row]))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 50))
@settings(max_examples=50, deadline=None)
def test_every_answer_has_its_place_and_no_row_is_longer_than_it_may_be(
    lengths: list[int], size: int
):
    rows = packing.rows(lengths, size)
    assert sorted(place for row in rows for place in row) == list(range(len(lengths)))
    held = [sum(lengths[place] for place in row) for row in rows]
    assert max(held) <= max(size, *lengths)
    # Two rows that fit into one would have been one.
    assert len(held) == 1 or sum(sorted(held)[:2]) > size


def test_rows_are_filled_best_fit_first():
    assert packing.rows([5, 3, 6, 2, 4], 8) == [[2, 3], [0, 1], [4]]
    assert [part.tolist() for part in packing.passes(np.array([5, 3, 6, 2]), 9, 3)] == [
        [2], [0, 1], [3],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "config"),
    [("llama", {}), ("gemma2", {"sliding_window": 8}), ("gpt2", {})],
)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_no_token_sees_its_neighbours(kind: str, config: dict[str, object], attention: str):
    # T24
    model = tiny_causal.model(kind, layers=2, **config)
    model.model.set_attn_implementation(attention)
    own, before, after = answers(14, 8, 6)
    other, later = answers(8, 6, seed=1)
    alone = seen(model, [[own]])[0]
    # The row of the first batch is padded, too.
    for rows in ([[before, own], [own, after, before]], [[other, own, later]]):
        found = seen(model, rows)
        place = next(n for n, one in enumerate(one for row in rows for one in row) if one is own)
        torch.testing.assert_close(found[place], alone, rtol=1e-5, atol=1e-5)


def test_whoever_puts_answers_together_without_positions_is_noticed():
    model = tiny_causal.model(layers=2)
    own, before = answers(14, 8)
    joined = Taught(np.concatenate([before.prompt, before.target, own.prompt]), own.target)
    alone, leaking = seen(model, [[own]])[0], seen(model, [[joined]])[0]
    assert float((alone - leaking).abs().max()) > 1e-2


def test_places_and_owners_are_those_of_each_answer():
    first, second, third = answers(4, 6, 3)
    batch = sequences.lay([[first, second], [third]], 2, CPU)
    assert batch.owner.tolist() == [[1] * 4 + [2] * 6, [1] * 3 + [0] * 7]
    assert batch.positions is not None
    assert batch.positions.tolist() == [[*range(4), *range(6)], [*range(3), *range(7)]]
    assert batch.labels.tolist() == [
        token for one in (first, second, third) for token in one.target
    ]
    keys = causal_pass.visible(batch)
    # The last target of the second answer is told from its token before the last.
    assert keys[4].tolist() == [False] * 4 + [True] * 5 + [False]
    assert sequences.pad([first, second], 2, CPU).positions is None


@pytest.mark.parametrize("kind", ["bloom", "mamba"])
def test_a_model_that_cannot_part_them_is_refused(kind: str):
    # ALiBi counts from the row's beginning; the state of a recurrence goes on.
    with pytest.raises(BadInput, match=f"does not work with models of type {kind}"):
        packing.check(tiny_causal.model(kind, layers=2))
    packing.check(tiny_causal.model(layers=2))
