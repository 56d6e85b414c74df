"""The quick way to tokens gives what sentence-transformers gives, or is not taken."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from distill_common import tokens
from distill_common.tokens import Padding, Quick, Text, Tokens
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import CrossEncoder, SentenceTransformer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = ["a1 b2 c3", "", "Ünïcödé 漢字 [MASK]", "b1 " * 60, "  \n d4"]
PAIRS: list[Text] = [(one, other) for one in TEXTS for other in TEXTS]


def _alike(found: list[Tokens], expected: list[Tokens]) -> None:
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert list(one.rows) == list(other.rows)
        for name, row in one.rows.items():
            assert row.dtype == np.int64
            np.testing.assert_array_equal(row, other.rows[name])


def _own(model: Any, items: list[Any], prompt: str | None = None) -> list[Tokens]:
    return tokens.rows(model.preprocess(items, prompt=prompt))


def _quick(model: Any, *, pairs: bool = False) -> Quick:
    found = tokens.quick(model, pairs=pairs)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def model() -> SentenceTransformer:
    return tiny_models.teacher()


@pytest.mark.parametrize("prompt", [None, "query: "])
def test_texts_and_their_prompts(model: SentenceTransformer, prompt: str | None):
    _alike(_quick(model).rows(TEXTS, prompt), _own(model, TEXTS, prompt))


@given(texts=st.lists(st.text(max_size=80), min_size=1, max_size=4))
def test_any_texts(model: SentenceTransformer, texts: list[str]):
    _alike(_quick(model).rows(texts), _own(model, list(texts)))


@pytest.mark.parametrize("prompt", [None, "query: "])
def test_pairs_are_cut_where_both_together_are_too_long(reranker: Path, prompt: str | None):
    model = CrossEncoder(str(reranker), device="cpu")
    found = _quick(model, pairs=True).rows(PAIRS, prompt)
    _alike(found, _own(model, [list(pair) for pair in PAIRS], prompt))
    assert max(one.length for one in found) == model.max_seq_length


@pytest.mark.parametrize("side", ["left", "right"])
def test_bytes_as_tokens_filled_and_cut_at_either_side(model: SentenceTransformer, side: str):
    other = tiny_models.teacher()
    other[0].processor = _of_bytes(side)
    found = _quick(other).rows(TEXTS)
    _alike(found, _own(other, TEXTS))
    expected = other.preprocess(TEXTS)
    made = tokens.rectangle(found, Padding.of(other.tokenizer))
    for name, row in made.items():
        np.testing.assert_array_equal(row, expected[name].numpy())
    assert (made["attention_mask"][:, 0] == 0).any() == (side == "left")


def test_what_sentence_transformers_does_afterwards_is_not_changed(model: SentenceTransformer):
    before = model.preprocess(TEXTS)
    _quick(model).rows(TEXTS)
    after = model.preprocess(TEXTS)
    for name in ("input_ids", "attention_mask"):
        np.testing.assert_array_equal(before[name].numpy(), after[name].numpy())


def test_another_longest_input_is_obeyed_at_once(model: SentenceTransformer):
    other = tiny_models.teacher()
    quick = _quick(other)
    other.max_seq_length = 7
    found = quick.rows(TEXTS)
    _alike(found, _own(other, TEXTS))
    assert max(one.length for one in found) == 7


def test_a_model_that_leaves_prompts_out_of_its_pooling_is_left_alone():
    other = tiny_models.teacher()
    other[1].include_prompt = False
    assert tokens.quick(other) is None


def test_a_model_whose_folder_asks_for_more_is_left_alone():
    other = tiny_models.teacher()
    other[0].processing_kwargs = {"text": {"max_length": 5}}
    assert other.preprocess(["a1 " * 60])["input_ids"].shape[1] == 5
    assert tokens.quick(other) is None


def _of_bytes(side: str) -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet)
    inner.train_from_iterator(TEXTS, trainer)
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",  # noqa: S106 - no secret
        model_max_length=32,
        padding_side=side,
        truncation_side=side,
    )
