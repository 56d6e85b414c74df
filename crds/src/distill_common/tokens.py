"""Texts as a model reads them: rows of integers, and rectangles of rows of different lengths."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

type Integers = NDArray[np.int64]
type Text = str | tuple[str, str]
"""A text, or a query with a document."""

KNOWN: Final = frozenset({"input_ids", "attention_mask", "token_type_ids"})
"""What can be made without sentence-transformers."""
MOST: Final = 100_000
"""Tokens that a text is made of at most to see how it is cut; what reads more does not cut."""
ALIKE: Final = ("a", "", "The quick brown fox, 3.14 — Ünïcödé, 漢字; [MASK] </s>\n\tdone.  ")
"""Texts by which the quick way is held against sentence-transformers' own."""


PROMPT: Final = "query: "
"""What stands before them then."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """One input as the model reads it: a row of integers by name, all of one length."""

    rows: Mapping[str, Integers]

    @property
    def length(self) -> int:
        """Return the number of tokens."""
        return len(self.rows["input_ids"])


@dataclass(frozen=True, slots=True)
class Padding:
    """What fills a shorter row, and at which end."""

    token: int
    left: bool = False

    @classmethod
    def of(cls, tokenizer: Any) -> "Padding":
        """Return how a tokenizer fills up rows."""
        left = getattr(tokenizer, "padding_side", "") == "left"
        return cls(token=int(tokenizer.pad_token_id or 0), left=left)


def rectangle(batch: Sequence[Tokens], padding: Padding) -> dict[str, Integers]:
    """Return int64 [len(batch), longest] by name; the mask tells tokens from filling."""
    width = max(one.length for one in batch)
    names = batch[0].rows.keys()
    filling = {"input_ids": padding.token}
    made = {n: np.full((len(batch), width), filling.get(n, 0), dtype=np.int64) for n in names}
    for number, one in enumerate(batch):
        place = slice(width - one.length, width) if padding.left else slice(0, one.length)
        for name in names:
            made[name][number, place] = one.rows[name]
    return made


def rows(features: Mapping[str, Any]) -> list[Tokens]:
    """Take the filling off what sentence-transformers made: one Tokens for each row."""
    mask = features["attention_mask"].bool().numpy()
    shape = mask.shape
    kept = {
        name: value.numpy().astype(np.int64)
        for name, value in features.items()
        if getattr(value, "shape", None) == shape
    }
    return [
        Tokens({name: value[row][mask[row]] for name, value in kept.items()})
        for row in range(shape[0])
    ]


class Quick:
    """Asks the tokenizer beneath sentence-transformers itself.

    What lies between makes masks, offsets and padding of every text as lists of Python, which takes
    longer than tokenising. Changes how the tokenizer cuts and pads, as every use of it does: not
    for several threads at a time.
    """

    def __init__(self, tokenizer: Any, names: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._names = tuple(names)
        self.padding = Padding.of(tokenizer)

    def rows(self, items: Sequence[Text], prompt: str | None = None) -> list[Tokens]:
        """Return the tokens of texts or pairs, cut at the model's longest input.

        prompt: what stands before a text, or before the first of a pair.
        """
        inner = self._settled()
        given = [_prompted(item, prompt) for item in items] if prompt else list(items)
        return [self._row(found) for found in inner.encode_batch_fast(given)]

    def _settled(self) -> Any:
        """Return the tokenizer beneath; it cuts as always, and leaves the padding to us."""
        inner, longest = self._tokenizer.backend_tokenizer, self._tokenizer.model_max_length
        wanted = {
            "max_length": longest,
            "stride": 0,
            "strategy": "longest_first",
            "direction": self._tokenizer.truncation_side,
        }
        if inner.padding is not None:
            inner.no_padding()
        if longest <= MOST and inner.truncation != wanted:
            inner.enable_truncation(**wanted)
        return inner

    def _row(self, found: Any) -> Tokens:
        made: dict[str, Integers] = {"input_ids": np.array(found.ids, dtype=np.int64)}
        if "token_type_ids" in self._names:
            made["token_type_ids"] = np.array(found.type_ids, dtype=np.int64)
        made["attention_mask"] = np.ones_like(made["input_ids"])
        return Tokens({name: made[name] for name in self._names})


def quick(model: Any, *, pairs: bool = False) -> Quick | None:
    """Return the quick way to a model's tokens; None where it does not give the very same.

    Templates of chats, processors of images, pooling that needs to know where a prompt ends and
    whatever else a model's folder may ask for are so left to sentence-transformers.
    pairs: the model reads two texts at once.
    """
    tokenizer = model.tokenizer
    if getattr(tokenizer, "backend_tokenizer", None) is None or _leaves_prompts_out(model):
        return None
    texts = [*ALIKE, "fox " * min(int(tokenizer.model_max_length), MOST)]
    sample: list[Text] = [(ALIKE[-1], text) for text in texts] if pairs else list(texts)
    expected = [rows(model.preprocess([one], prompt=PROMPT))[0] for one in sample]
    if expected[0].rows.keys() - KNOWN:
        return None
    made = Quick(tokenizer, list(expected[0].rows))
    found = made.rows(sample, PROMPT)
    return made if all(map(_equal, found, expected)) else None


def _prompted(item: Text, prompt: str) -> Text:
    return prompt + item if isinstance(item, str) else (prompt + item[0], item[1])


def _leaves_prompts_out(model: Any) -> bool:
    return any(getattr(module, "include_prompt", True) is False for module in model.modules())


def _equal(one: Tokens, other: Tokens) -> bool:
    return one.rows.keys() == other.rows.keys() and all(
        np.array_equal(row, other.rows[name]) for name, row in one.rows.items()
    )
