"""Which process embeds which texts of a batch: a pure function of their lengths.

Every process knows the parts of all of them, so that they take the same number of passes: one
that took fewer would leave the others waiting for it in the middle of a layer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Share:
    """What one process embeds of a batch."""

    places: Places
    """Positions in the batch, longest text first."""
    parts: tuple[slice, ...]
    """Slices of places, one for each pass; an empty one is a pass that only keeps step."""


def deal(lengths: Places, processes: int, max_rows: int | None) -> list[Share]:
    """Deal the texts of a batch by length, like cards, so that each process has equal work.

    max_rows: texts of one pass; None for all in one.
    """
    longest_first = np.argsort(-lengths, kind="stable")
    hands = [longest_first[process::processes] for process in range(processes)]
    most = max(len(hand) for hand in hands)
    rows = max_rows or max(most, 1)
    passes = max(-(-most // rows), 1)
    parts = tuple(slice(number * rows, (number + 1) * rows) for number in range(passes))
    return [Share(hand, parts) for hand in hands]


def order(shares: list[Share]) -> Places:
    """Where the row of each text is once the rows of all processes are below each other."""
    return np.argsort(np.concatenate([share.places for share in shares]), kind="stable")
