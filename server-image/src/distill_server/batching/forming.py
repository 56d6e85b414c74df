"""Which of the waiting sequences go into the next batch."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a batch may be."""

    sequences: int
    tokens: int
    """Padding included; a single longer sequence is a batch of its own."""


def next_batch(lengths: Sequence[int], limits: Limits) -> list[int]:
    """Choose positions of a batch that holds the oldest sequence, with little padding.

    lengths: tokens of those that wait, oldest first. The batch is a run of neighbours by length,
    so padding is small, and it always holds position 0, so nothing waits for ever.
    """
    by_length = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    oldest = by_length.index(0)
    first = last = oldest
    while last - first + 1 < limits.sequences:
        shorter = by_length[first - 1] if first > 0 else None
        longer = by_length[last + 1] if last + 1 < len(by_length) else None
        room = limits.tokens // (last - first + 2)
        # The longest of the batch is its width; a shorter one never widens it.
        if shorter is not None and lengths[by_length[last]] <= room:
            first -= 1
        elif longer is not None and lengths[longer] <= room:
            last += 1
        else:
            break
    return by_length[first : last + 1]
