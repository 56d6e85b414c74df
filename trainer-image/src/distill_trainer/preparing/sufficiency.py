"""Whether there is enough data to learn from and to judge by."""

from collections.abc import Mapping
from typing import Final

from distill_api.names import Reason

from distill_trainer.errors import BadInput

MINIMUM: Final[Mapping[str, int]] = {"train": 10, "validation": 5, "test": 5}
"""Records that each split needs at least; fewer measure nothing."""


def check_pairs(pairs: int, records: int) -> None:
    """Refuse data that is too small before the teacher works.

    pairs: different pairs of query and document. records: rows with a query.
    """
    needed = sum(MINIMUM.values())
    if pairs >= needed:
        return
    copies = records - pairs
    repeated = f", {copies} of them repeat another one" if copies > 0 else ""
    raise BadInput(
        Reason.BAD_DATA,
        f"The data has {records} records with a query and a document{repeated}; {pairs} different"
        f" ones are too few to learn from and to judge by, at least {needed} are needed, some"
        " hundreds are better. Add records",
    )


def check_splits(counts: Mapping[str, int], dropped: Mapping[str, int]) -> None:
    """Refuse splits that are too small. dropped: records thrown away, by reason."""
    small = [name for name, least in MINIMUM.items() if counts.get(name, 0) < least]
    if not small:
        return
    have = ", ".join(f"{counts.get(name, 0)} for {name}" for name in MINIMUM)
    least = ", ".join(f"{count} for {name}" for name, count in MINIMUM.items())
    gone = ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count)
    lost = f" Thrown away: {gone}." if gone else ""
    raise BadInput(
        Reason.BAD_DATA,
        f"Too few records are left: {have}; at least {least} are needed.{lost} Add records, change"
        " data.splits or data.filter; if one group holds most records, divide it (data.columns"
        ".group)",
    )
