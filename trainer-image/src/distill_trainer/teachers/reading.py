"""Texts, or pairs of them, become the features of batches of like length, longest first."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Final

from distill_common import tokens
from distill_common.tokens import Quick, Text, Tokens

WINDOW: Final = 64
"""Batches that are tokenised before the first of them is computed: long corpora fit no memory."""

type Batch = tuple[list[int], dict[str, Any]]
"""Places of the items, and what the model takes, on its device."""


class Reader:
    """How a model of sentence-transformers, or a graph of it, reads.

    By the model's own preprocess where nothing quicker gives the same tokens.
    """

    def __init__(self, model: Any, *, pairs: bool = False) -> None:
        self._model = model
        self._pairs = pairs

    @cached_property
    def _quick(self) -> Quick | None:
        return tokens.quick(self._model, pairs=self._pairs)

    def batches(self, items: Sequence[Text], size: int, prompt: str = "") -> Iterator[Batch]:
        """Yield batches that hold each item once.

        Their composition depends on nothing but the items of this call. Characters sort what is
        tokenised together, and tokens sort that, as those are what is padded.
        """
        order = sorted(range(len(items)), key=lambda place: (-_characters(items[place]), place))
        for start in range(0, len(order), WINDOW * size):
            places = order[start : start + WINDOW * size]
            if self._quick is None:
                yield from self._slowly(items, places, size, prompt)
            else:
                read = self._quick.rows([items[place] for place in places], prompt)
                yield from self._padded(dict(zip(places, read, strict=True)), size)

    def _padded(self, read: dict[int, Tokens], size: int) -> Iterator[Batch]:
        import torch

        assert self._quick is not None, "only what was read quickly is padded here"
        places = sorted(read, key=lambda place: (-read[place].length, place))
        for batch in _cut(places, size):
            made = tokens.rectangle([read[place] for place in batch], self._quick.padding)
            yield batch, self._moved({n: torch.from_numpy(row) for n, row in made.items()})

    def _slowly(
        self, items: Sequence[Text], places: list[int], size: int, prompt: str
    ) -> Iterator[Batch]:
        for batch in _cut(places, size):
            given = [items[place] for place in batch]
            yield batch, self._moved(self._model.preprocess(given, prompt=prompt or None))

    def _moved(self, features: dict[str, Any]) -> dict[str, Any]:
        device = self._model.device
        return {
            name: value.to(device) if hasattr(value, "to") else value
            for name, value in features.items()
        }


def _cut(places: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _characters(item: Text) -> int:
    return len(item) if isinstance(item, str) else sum(map(len, item))
