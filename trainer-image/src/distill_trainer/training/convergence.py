"""Whether a learning curve has become flat."""

from collections.abc import Sequence
from typing import Any

LEAST = 4
"""Validations below which nothing can be said."""
FLAT = 0.01
"""A rise of the best score by less, relative to its size, over the last quarter is flat."""


def converged(curve: Sequence[dict[str, Any]], *, stopped_early: bool) -> bool | None:
    """Tell whether the validation score no longer rises; None with too few validations."""
    if stopped_early:
        return True
    scores = [float(point["validation"]) for point in curve if "validation" in point]
    if len(scores) < LEAST:
        return None
    last = max(len(scores) // 4, 1)
    before, after = max(scores[:-last]), max(scores[-last:])
    # Log-likelihoods lie below 0: what a rise is compared with is their distance from it.
    return after - before <= FLAT * max(abs(before), abs(after))
