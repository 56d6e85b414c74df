"""Texts become tokens exactly as in training, by the tokenizers library alone.

Copied into the model repository, where a Python of Triton's own runs it: numpy and tokenizers are
all it may know.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

PROMPT_NAMES: Mapping[str, tuple[str, ...]] = {
    "query": ("query",),
    "document": ("document", "passage", "corpus"),
}
"""What models call their prompts, by what a text is; as distill_server looks for them."""
SHORTEST = 8
"""Length that a rectangle has at least where lengths are rounded up."""


class BadRequest(ValueError):
    """A request that cannot be answered; the text says what to change."""


@dataclass(frozen=True)
class Settings:
    """How the student reads, as written when the repository was made."""

    pad: int
    """Id of the token that fills short texts up."""
    pad_left: bool = False
    """Whether the filling goes before a text instead of behind it."""
    cut_left: bool = False
    """Whether what is too long loses its beginning instead of its end."""
    max_length: int | None = None
    """Tokens after which a text is cut; None: it never is."""
    prompts: Mapping[str, str] | None = None
    """The student's prompts by name."""
    default_prompt: str | None = None
    """Name of the prompt of texts that do not say what they are."""
    rounded: bool = False
    """Round lengths up to powers of 2: Triton puts only tensors of one shape in one batch."""
    most: int = 64
    """Texts in one request at most."""

    def prompt(self, input_type: str | None) -> str:
        """Return what goes before a text; BadRequest for an unknown kind of text."""
        known = self.prompts or {}
        if input_type is None:
            return known.get(self.default_prompt or "", "")
        names = PROMPT_NAMES.get(input_type.removeprefix("search_"))
        if names is None:
            raise BadRequest(
                f"the parameter input_type is {input_type!r}: use query or document, or leave it"
                " out for the model's default prompt"
            )
        return next((known[name] for name in names if name in known), "")


class Reader:
    """A student's tokenizer with its settings."""

    def __init__(self, tokenizer: Path, settings: Settings) -> None:
        self._settings = settings
        self._tokenizer: Any = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        if settings.max_length is not None:
            self._tokenizer.enable_truncation(
                settings.max_length, direction="left" if settings.cut_left else "right"
            )

    def texts(self, texts: Sequence[str], input_type: str | None) -> dict[str, NDArray[np.int64]]:
        """Return the rectangles [texts, length] that the graph takes."""
        self._refuse_count(len(texts))
        prompt = self._settings.prompt(input_type)
        return self._rectangles(self._tokenizer.encode_batch([prompt + text for text in texts]))

    def pairs(self, query: str, documents: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Return the rectangles [documents, length] of a query with each document."""
        self._refuse_count(len(documents))
        pairs = [(query, document) for document in documents]
        return self._rectangles(self._tokenizer.encode_batch(pairs))

    def _refuse_count(self, count: int) -> None:
        if not 0 < count <= self._settings.most:
            raise BadRequest(
                f"the request has {count} texts and 1 to {self._settings.most} are taken: divide"
                " it into several"
            )

    def _rectangles(self, found: Sequence[Encoding]) -> dict[str, NDArray[np.int64]]:
        rows = {
            "input_ids": ([one.ids for one in found], self._settings.pad),
            "attention_mask": ([one.attention_mask for one in found], 0),
            "token_type_ids": ([one.type_ids for one in found], 0),
        }
        length = self._length(max(len(one.ids) for one in found))
        return {name: self._rectangle(own, fill, length) for name, (own, fill) in rows.items()}

    def _length(self, longest: int) -> int:
        if not self._settings.rounded:
            return longest
        wide = max(SHORTEST, 1 << (longest - 1).bit_length())
        return min(wide, max(self._settings.max_length or wide, longest))

    def _rectangle(self, rows: Sequence[list[int]], fill: int, length: int) -> NDArray[np.int64]:
        made = np.full((len(rows), length), fill, dtype=np.int64)
        for row, ids in zip(made, rows, strict=True):
            if not ids:
                continue
            if self._settings.pad_left:
                row[-len(ids) :] = ids
            else:
                row[: len(ids)] = ids
        return made
