"""Whether a float graph computes what its model does, whatever the length and the batch."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from distill_api.names import Reason
from numpy.typing import NDArray

from distill_trainer.errors import BadInput

TOLERANCE: Final = 1e-4
"""Largest difference, relative to the largest number; a server's own bound."""
BATCHES: Final = (1, 2, 7)
REPEATS: Final = (1, 4, 64)
"""How often a text is repeated: a few tokens, some, as many as the model reads."""

type Compute = Callable[[Sequence[Any]], NDArray[np.float32]]
"""Texts or pairs in one batch → vectors [batch, width] or scores [batch]."""


def check(
    graph: Compute,
    model: Compute,
    items: Sequence[Any],
    *,
    most: float = TOLERANCE,
    advice: str = "remove spec.quantize",
) -> float:
    """Return the largest difference; BadInput where it is too large.

    items: texts, or pairs of them, by which both are asked. most: what is accepted, relative to
    the largest number. advice: what else the user can do.
    """
    largest = 0.0
    for size in BATCHES:
        for repeats in REPEATS:
            batch = _batch(items, size, repeats)
            expected, found = model(batch), graph(batch)
            off = difference(found, expected)
            if not accepted(off, expected, most):
                raise BadInput(
                    Reason.BAD_MODEL,
                    f"The student's ONNX graph gives other numbers than its weights for"
                    f" {size} texts, repeated {repeats} times (largest difference {off:.2g}, at"
                    f" most {most:g} is expected): its architecture cannot be exported with this"
                    f" release; {advice}",
                )
            largest = max(largest, off)
    return largest


def difference(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest difference of two arrays; infinite where their shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found - expected).max())


def accepted(off: float, expected: NDArray[np.float32], most: float) -> bool:
    """Tell whether a difference is small enough; one that is no number never is.

    most: what is accepted, as a share of the largest number, or of 1 where all are smaller.
    """
    return off <= most * max(1.0, float(np.abs(expected).max()))


def batches(items: Sequence[Any]) -> list[list[Any]]:
    """Return the batches of every size and length."""
    return [_batch(items, size, repeats) for size in BATCHES for repeats in REPEATS]


def _batch(items: Sequence[Any], size: int, repeats: int) -> list[Any]:
    return [_longer(items[place % len(items)], repeats) for place in range(size)]


def _longer(item: Any, repeats: int) -> Any:
    if isinstance(item, str):
        return " ".join([item] * repeats)
    query, document = item
    return (query, " ".join([document] * repeats))
