"""Reads the transforms of a query out of what a model wrote, and throws away what adds nothing."""

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from distill_api.recipe import QueryTransformTask
from distill_common import wording

from distill_trainer.preparing.near import loose
from distill_trainer.texts.querying import Query, Wanted

NEAR: Final = 0.9
"""F1 of the words from which two queries count as nearly the same: they find the same."""
LONGEST: Final = 64
"""Words of a query; what is longer is an explanation."""

_BARS: Final = re.compile(r"\s*\|{2,}\s*")
_MARKER: Final = re.compile(r"^\s*(?:[-*\u2022]|\(?\d{1,2}[.):])\s+")
_INLINE: Final = re.compile(r"(?:^|\s)\(?\d{1,2}[.)]\s+")
_LABEL: Final = re.compile(
    r"^(?:the )?(?:(?:alternative|rewritten|stand-?alone|last|search) )*(?:query|question)"
    r"\s*\d{0,2}\s*:\s*",
    re.IGNORECASE,
)
_QUOTES: Final = "\"'`*\u201c\u201d\u2018\u2019 \t"


class Dropped(StrEnum):
    """Why an expansion is not kept."""

    SAME = "the query itself"
    NEAR = "nearly the query"
    REPEATED = "nearly one before it"
    LONG = "too long for a query"
    SURPLUS = "more than were asked for"


@dataclass(frozen=True, slots=True)
class Read:
    """What was read out of a text."""

    kept: tuple[str, ...]
    """In their order; empty where the text cannot be read."""
    dropped: tuple[Dropped, ...] = ()
    unreadable: bool = False
    """The text is no list of queries, or no single question."""
    few: bool = False
    """A list, with too few queries that are any use."""


def read(text: str, query: Query, wanted: Wanted) -> Read:
    """Read expansions or a rewrite out of a text."""
    if wanted.task is QueryTransformTask.REWRITE:
        return _rewrite(text)
    entries = [entry for entry in map(_clean, listed(text)) if entry]
    if len(entries) < wanted.least:
        return Read((), unreadable=True)
    kept, dropped = _useful(entries, query, wanted.count)
    if len(kept) < wanted.least:
        return Read((), tuple(dropped), few=True)
    return Read(tuple(kept), tuple(dropped))


def listed(text: str) -> list[str]:
    """Return the entries of a list: JSON, parted by bars, numbered or marked, or line by line."""
    found = _json(text)
    if found is not None:
        return found
    lines = [line for line in text.splitlines() if line.strip()]
    if "||" in text:
        # An introduction stands on a line of its own.
        return _BARS.split(" ".join(line for line in lines if "||" in line).strip(" |"))
    marked = [line for line in lines if _MARKER.match(line)]
    if len(marked) > 1:
        return marked
    if len(_INLINE.findall(text)) > 1:
        return _INLINE.split(" ".join(lines))[1:]
    return [line for line in lines if not line.rstrip().endswith(":")]


def _json(text: str) -> list[str] | None:
    """Read a JSON list of texts, or of objects with one; None where there is none."""
    begin, end = text.find("["), text.rfind("]")
    if begin < 0 or end < begin:
        return None
    try:
        found = json.loads(text[begin : end + 1])
    except ValueError:
        return None
    texts = [_text(entry) for entry in found]
    return [entry for entry in texts if entry is not None] or None


def _text(entry: Any) -> str | None:
    if isinstance(entry, dict):
        entry = next((value for value in entry.values() if isinstance(value, str)), None)
    return entry if isinstance(entry, str) else None


def _clean(entry: str) -> str:
    """Take off numbers, labels and quotes, which are no part of a query."""
    bare = _MARKER.sub("", entry).strip(_QUOTES)
    return " ".join(_LABEL.sub("", bare).strip(_QUOTES + ",;").split())


def _useful(entries: list[str], query: Query, count: int) -> tuple[list[str], list[Dropped]]:
    """Keep what finds something else than the query and the entries before it."""
    kept: list[str] = []
    dropped: list[Dropped] = []
    for entry in entries:
        reason = _reason(entry, query.text, kept, count)
        if reason is None:
            kept.append(entry)
        else:
            dropped.append(reason)
    return kept, dropped


def _reason(entry: str, query: str, kept: list[str], count: int) -> Dropped | None:
    if len(entry.split()) > LONGEST:
        return Dropped.LONG
    if loose(entry) == loose(query):
        return Dropped.SAME
    if wording.token_f1(entry, query) >= NEAR:
        return Dropped.NEAR
    if any(wording.token_f1(entry, one) >= NEAR for one in kept):
        return Dropped.REPEATED
    return Dropped.SURPLUS if len(kept) >= count else None


def _rewrite(text: str) -> Read:
    """Read the one question that a text has to be; it may equal the query."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].rstrip().endswith(":"):
        lines = lines[1:]
    found = _clean(lines[0]) if len(lines) == 1 else ""
    if not found or len(found.split()) > LONGEST:
        return Read((), unreadable=True)
    return Read((found,))


def distinctness(transforms: tuple[str, ...]) -> float:
    """Mean over all pairs of 1 - F1 of their words: 0 all alike, 1 no word shared; NaN for one."""
    pairs = [(a, b) for place, a in enumerate(transforms) for b in transforms[:place]]
    if not pairs:
        return float("nan")
    return sum(1 - wording.token_f1(*pair) for pair in pairs) / len(pairs)
