"""Texts become tokens exactly as sentence-transformers makes them."""

from collections.abc import Sequence

import numpy as np
from distill_common import tokens
from distill_common.tokens import Padding, Text, Tokens
from sentence_transformers import CrossEncoder

from distill_server.errors import BadRequest
from distill_server.models.loading import Loaded

CHUNK = 256
"""Texts padded together while they are tokenised; the filling is taken off at once."""


class Tokenizer:
    """The tokenizer of a model with its limits; not for several threads at a time."""

    def __init__(self, model: Loaded) -> None:
        self._model = model
        inner = model.tokenizer
        self._quick = tokens.quick(model, pairs=isinstance(model, CrossEncoder))
        self.padding = Padding.of(inner)
        self.vocabulary = len(inner)
        self.longest = int(model.max_seq_length or inner.model_max_length)

    def encode(self, texts: Sequence[Text], prompt: str | None) -> list[Tokens]:
        """Return the tokens of each text, cut at the model's longest input."""
        found: list[Tokens] = []
        for start in range(0, len(texts), CHUNK):
            found.extend(self._rows(texts[start : start + CHUNK], prompt))
        return found

    def _rows(self, texts: Sequence[Text], prompt: str | None) -> list[Tokens]:
        if self._quick is None:
            return tokens.rows(self._model.preprocess(list(texts), prompt=prompt))
        return self._quick.rows(texts, prompt)

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
