"""Texts become tokens exactly as sentence-transformers makes them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from distill_server.batching.padding import Integers, Padding, Tokens
from distill_server.errors import BadRequest
from distill_server.models.loading import Loaded

type Text = str | tuple[str, str]
"""A text, or a query with a document."""

CHUNK = 256
"""Texts padded together while they are tokenised; the filling is taken off at once."""


class Tokenizer:
    """The tokenizer of a model with its limits; not for several threads at a time."""

    def __init__(self, model: Loaded) -> None:
        self._model = model
        inner = model.tokenizer
        self.padding = Padding(
            token=int(inner.pad_token_id or 0), left=getattr(inner, "padding_side", "") == "left"
        )
        self.vocabulary = len(inner)
        self.longest = int(model.max_seq_length or inner.model_max_length)

    def encode(self, texts: Sequence[Text], prompt: str | None) -> list[Tokens]:
        """Return the tokens of each text, cut at the model's longest input."""
        found: list[Tokens] = []
        for start in range(0, len(texts), CHUNK):
            features = self._model.preprocess(list(texts[start : start + CHUNK]), prompt=prompt)
            found.extend(_rows(features))
        return found

    def given(self, ids: Sequence[int]) -> Tokens:
        """Take tokens that the caller made; BadRequest for what the model has no place for."""
        if not 0 < len(ids) <= self.longest:
            raise BadRequest(
                f"an input has {len(ids)} tokens and this model reads 1 to {self.longest}: send"
                " fewer"
            )
        if (worst := max(ids)) >= self.vocabulary or min(ids) < 0:
            raise BadRequest(
                f"an input has token {worst if worst >= self.vocabulary else min(ids)} and this"
                f" model's vocabulary is 0 to {self.vocabulary - 1}: make tokens with its own"
                " tokenizer, or send text"
            )
        row = np.asarray(ids, dtype=np.int64)
        return Tokens({"input_ids": row, "attention_mask": np.ones_like(row)})


def _rows(features: dict[str, Any]) -> list[Tokens]:
    """Take the filling off: one Tokens for each row of the rectangle."""
    mask = features["attention_mask"].bool().numpy()
    shape = mask.shape
    kept: dict[str, Integers] = {
        name: value.numpy().astype(np.int64)
        for name, value in features.items()
        if getattr(value, "shape", None) == shape
    }
    return [
        Tokens({name: value[row][mask[row]] for name, value in kept.items()})
        for row in range(shape[0])
    ]
