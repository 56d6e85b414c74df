"""Which records belong to which step: a pure function of seed and step, so a resume is exact."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

LONE = 1
"""Set apart from 0, so that lone documents are shuffled differently from records."""


@lru_cache(maxsize=8)
def _shuffled(count: int, seed: int, epoch: int, stream: int) -> NDArray[np.int64]:
    order = np.random.Generator(np.random.PCG64([seed, epoch, stream])).permutation(count)
    order.flags.writeable = False
    return order


def window(count: int, first: int, size: int, *, seed: int, stream: int = 0) -> NDArray[np.int64]:
    """Return places first … first + size of an endless row of shuffled epochs of count items.

    stream: rows of different streams of one seed are shuffled apart. Returns [size].
    """
    positions = np.arange(first, first + size)
    epochs, inside = np.divmod(positions, count)
    return np.array(
        [
            _shuffled(count, seed, int(epoch), stream)[place]
            for epoch, place in zip(epochs, inside, strict=True)
        ],
        dtype=np.int64,
    )


def records(count: int, batch: int, step: int, *, seed: int) -> NDArray[np.int64]:
    """Choose the records of a step counted from 0: [batch]; each comes up once in an epoch."""
    return window(count, step * batch, batch, seed=seed)


def lone(count: int, records: int, batch: int, step: int, *, seed: int) -> NDArray[np.int64]:
    """Choose the lone documents of a step, as evenly spread as whole numbers allow.

    count: lone documents there are. records: records that are taught; while each of them comes
    once, so does each lone document. Returns places among the lone ones; the steps' counts differ.
    """
    begin, end = (at * batch * count // records for at in (step, step + 1))
    return window(count, begin, end - begin, seed=seed, stream=LONE)
