"""Whether there is enough data to learn from and to judge by."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from distill_api.data import Data
from distill_api.names import Reason

from distill_trainer.errors import BadInput
from distill_trainer.preparing import filters, splits
from distill_trainer.preparing.grouping import groups_of
from distill_trainer.teachers.answers import Flaw

MINIMUM: Final[Mapping[str, int]] = {"train": 10, "validation": 5, "test": 5}
"""Records that each split needs at least; fewer measure nothing."""
GROUPS_SHOWN: Final = 3
ROWS_SHOWN: Final = 5

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rows:
    """Records before the teacher has seen them."""

    pairs: Sequence[tuple[str, str]]
    """Normalised query and document."""
    groups: Sequence[str | None]
    first: Mapping[str, int]
    """The row of the data, counted from 1, in which a group comes up first."""


def without_text(rows: Sequence[int]) -> str:
    """Say which rows of the data are left out as they hold no text; empty where all do."""
    if not rows:
        return ""
    listed = ", ".join(map(str, rows[:ROWS_SHOWN])) + (", …" if len(rows) > ROWS_SHOWN else "")
    return f"{len(rows)} rows have no text ({listed}) and are left out"


def check_pairs(pairs: int, records: int, empty: Sequence[int] = (), rejected: int = 0) -> None:
    """Refuse data that is too small before the teacher works.

    pairs: different pairs of query and document. records: rows with a query. empty: the rows
    without text, counted from 1. rejected: rows that are no answers by their score.
    """
    needed, blank = sum(MINIMUM.values()), without_text(empty)
    if rejected:
        blank += f"{'; ' * bool(blank)}{rejected} rows are no answers, with a score of 0 or less"
    if pairs >= needed:
        if blank:
            log.warning("%s", blank)
        return
    copies = records - pairs
    repeated = f", {copies} of them repeat another one" if copies > 0 else ""
    raise BadInput(
        Reason.BAD_DATA,
        f"The data has {records} records with a query and a document{repeated}; {pairs} different"
        f" ones are too few to learn from and to judge by, at least {needed} are needed, some"
        f" hundreds are better.{f' {blank}.' if blank else ''} Add records",
    )


def check_divided(rows: Rows, settings: Data) -> None:
    """Refuse data whose splits will be too small whatever the teacher says, before it works.

    Duplicates and texts shared by splits are taken off, as prepare does; all else can only lower
    the counts further.
    """
    pairs, named = list(rows.pairs), list(rows.groups)
    if settings.filter.remove_duplicates:
        once: dict[tuple[str, str], str | None] = {}
        for pair, group in zip(rows.pairs, rows.groups, strict=True):
            once.setdefault(pair, group)
        pairs, named = list(once), list(once.values())
    groups = groups_of(named, pairs)
    assigned = [splits.assign(group, settings.splits) for group in groups]
    leaking = splits.leaks(pairs, assigned)
    left = [(group, split) for group, split, leaks in zip(groups, assigned, leaking, strict=True)
            if not leaks]  # fmt: skip
    dropped = {filters.DUPLICATE: len(rows.pairs) - len(pairs), filters.LEAK: sum(leaking)}
    counts = Counter(split for _, split in left)
    check_splits(counts, dropped, _told(left, counts, rows.first))


def _told(
    left: Sequence[tuple[str, str]], counts: Mapping[str, int], first: Mapping[str, int]
) -> str:
    """Say which groups the splits that are too small have, as one row of a group fills none."""
    sizes = {(group.removeprefix("group:"), split): count
             for (group, split), count in Counter(left).items()
             if group.startswith("group:")}  # fmt: skip
    told = []
    for name, least in MINIMUM.items():
        if counts.get(name, 0) >= least:
            continue
        own = [(group, count) for (group, split), count in sizes.items() if split == name]
        if not own and sizes:
            (group, _), count = min(sizes.items(), key=lambda entry: entry[1])
            told.append(f"{name} has none, and the smallest has {_group(group, count, first)}")
        told += [f"{name} has {_group(*one, first)}" for one in own[:GROUPS_SHOWN]]
    different = len({group for group, _ in left})
    return f" The data has {different} groups: {'; '.join(told)}." if told else ""


def _group(name: str, count: int, first: Mapping[str, int]) -> str:
    place = f" (first in row {first[name]})" if name in first else ""
    return f'{count} of the group "{name[:40]}"{place}'


def check_splits(counts: Mapping[str, int], dropped: Mapping[str, int], groups: str = "") -> None:
    """Refuse splits that are too small.

    dropped: records thrown away, by reason. groups: a sentence on the groups in them.
    """
    small = [name for name, least in MINIMUM.items() if counts.get(name, 0) < least]
    if not small:
        return
    have = ", ".join(f"{counts.get(name, 0)} for {name}" for name in MINIMUM)
    least = ", ".join(f"{count} for {name}" for name, count in MINIMUM.items())
    gone = ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count)
    lost = f" Thrown away: {gone}." if gone else ""
    if dropped.get(Flaw.TRUNCATED):
        lost += " Raise teacher.sampling.maxTokens, or ask for short answers in its systemPrompt."
    if dropped.get(Flaw.TOO_LONG):
        lost += " Shorten the contexts, raise teacher.maxLength, or take one that reads more."
    raise BadInput(
        Reason.BAD_DATA,
        f"Too few records are left: {have}; at least {least} are needed.{lost}{groups} Add"
        " records, change data.splits or data.filter; if one group holds most records, divide it"
        " (data.columns.group)",
    )
