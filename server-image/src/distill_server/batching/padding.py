"""Sequences of different lengths become one rectangle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

type Integers = NDArray[np.int64]


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
