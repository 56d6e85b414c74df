"""What is wrong with rows of data, gathered by kind and told in one sentence with their numbers."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

NUMBERS_SHOWN: Final = 5
KINDS_SHOWN: Final = 4
LIMIT: Final = 1000
"""After so many bad rows reading stops: the file is another one than was meant."""
NAMES_SHOWN: Final = 8
SEPARATORS: Final[Mapping[str, str]] = {";": "semicolons", "\t": "tabs", "|": "bars"}
"""What spreadsheets write between fields instead of commas."""
SYNONYMS: Final[Mapping[str, tuple[str, ...]]] = {
    "query": ("question", "anchor", "search", "prompt", "input", "sentence1"),
    "document": ("text", "passage", "positive", "content", "body", "doc", "sentence2", "answer"),
    "context": ("document", "documents", "passage", "text"),
    "answer": ("response", "output", "completion", "target"),
}
"""What data sets call our columns."""


class BadRows(Exception):
    """Data that cannot be used; the text names the rows and what is wrong with them."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row is: `data.jsonl line 7`, or a whole file where the number is 0."""

    file: str
    number: int = 0
    unit: str = "line"

    def __str__(self) -> str:
        """Return the place as it is told."""
        return f"{self.file} {self.unit} {self.number}" if self.number else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a row cannot be used."""

    place: Place
    what: str
    """The kind, the same for all rows that have it."""
    detail: str = ""
    """What is special about this row; told for the first of a kind."""


@dataclass(slots=True)
class _Kind:
    detail: str
    numbers: list[int] = field(default_factory=list)
    count: int = 0


@dataclass(slots=True)
class Problems:
    """The problems of a data set, in bounded memory."""

    kinds: dict[tuple[str, str, str], _Kind] = field(default_factory=dict)
    """By file, unit and what is wrong."""
    count: int = 0

    def add(self, problem: Problem) -> None:
        """Take in a problem."""
        place = problem.place
        key = (place.file, place.unit, problem.what)
        kind = self.kinds.setdefault(key, _Kind(problem.detail))
        self.count += 1
        kind.count += 1
        if len(kind.numbers) < NUMBERS_SHOWN:
            kind.numbers.append(place.number)

    @property
    def full(self) -> bool:
        """Tell whether there is no point in reading on."""
        return self.count >= LIMIT

    def check(self) -> None:
        """Raise BadRows where there is any problem."""
        if not self.count:
            return
        shown = [_told(*key, kind) for key, kind in list(self.kinds.items())[:KINDS_SHOWN]]
        more = len(self.kinds) - len(shown)
        others = f"; and {more} more kinds of problems" if more else ""
        stopped = f"; reading stopped after {LIMIT} bad rows" if self.full else ""
        raise BadRows(
            f"The data has rows that cannot be used: {'; '.join(shown)}{others}{stopped}. Correct"
            " or remove them"
        )


def _told(file: str, unit: str, what: str, kind: _Kind) -> str:
    detail = f" ({'first: ' if kind.count > 1 else ''}{kind.detail})" if kind.detail else ""
    if kind.numbers == [0]:
        return f"{file}: {what}{detail}"
    numbers = ", ".join(str(number) for number in kind.numbers)
    if kind.count == 1:
        return f"{file} {unit} {numbers}: {what}{detail}"
    more = ", …" if kind.count > len(kind.numbers) else ""
    return f"{file}, {kind.count} {unit}s ({numbers}{more}): {what}{detail}"


def no_column(place: Place, ours: str, name: str, there: Iterable[str]) -> Problem:
    """Return the problem of a column that is missing: what is there, what was likely meant.

    ours: our own name of the column, which the spec's `columns` has. name: the one looked for.
    """
    names = [str(one) for one in there]
    shown = ", ".join(one[:40] for one in names[:NAMES_SHOWN]) or "none"
    more = ", …" if len(names) > NAMES_SHOWN else ""
    near = nearest(ours, name, names)
    hint = f'; set columns.{ours}: "{near}"?' if near else f"; name yours in columns.{ours}"
    if len(names) == 1 and (mark := next((one for one in SEPARATORS if one in names[0]), None)):
        hint = f"; its fields seem to be parted by {SEPARATORS[mark]}: write it with commas"
    return Problem(place, f'no column "{name}"', f"there are {shown}{more}{hint}")


def nearest(ours: str, name: str, there: Iterable[str]) -> str | None:
    """Return the column that was likely meant, or None."""
    lower = {str(one).casefold(): str(one) for one in there}
    close = difflib.get_close_matches(name.casefold(), lower, n=1, cutoff=0.7)
    known = [one for one in SYNONYMS.get(ours, ()) if one in lower]
    found = [*close, *known]
    return lower[found[0]] if found else None
