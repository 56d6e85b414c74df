"""Reads records from JSON lines, Parquet, CSV or a data set's folder, and names rows in the wrong.

What says that the file is another one than was meant is fatal: a broken line, a missing column,
something else than text, a score that is no finite number. Rows without text are told as None.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from distill_api.data import Columns, DataFormat

from distill_common import dataset_folders, row_files
from distill_common.problems import BadRows, Place, Problem, Problems, nearest, no_column
from distill_common.row_files import LINE_LIMIT, TOO_LONG, Header, Read, Row, Wanted

__all__ = ["BadRows", "Place", "Problem", "Question", "Record", "Search", "files", "read",
           "read_as", "read_queries", "read_questions", "read_searches"]  # fmt: skip

SUFFIXES: Final[Mapping[DataFormat, tuple[str, ...]]] = {
    DataFormat.JSONL: (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz", ".json.gz",
                       ".jsonl.zst", ".ndjson.zst"),
    DataFormat.CSV: (".csv", ".csv.gz", ".csv.zst"),
    DataFormat.PARQUET: (".parquet",),
}  # fmt: skip
READERS: Final[Mapping[str, Read]] = {
    "JSONL": row_files.jsonl,
    "CSV": row_files.comma_separated,
    "Parquet": row_files.parquet,
    "Arrow": row_files.arrow,
}
KINDS: Final[Mapping[type, str]] = {
    list: "a list",
    dict: "an object",
    int: "a number",
    float: "a number",
    bool: "true or false",
    bytes: "bytes",
}
NAMES_KEPT: Final = 200


@dataclass(frozen=True, slots=True)
class Record:
    """One row of the data."""

    document: str
    query: str | None = None
    """None: the document is only searched among."""
    group: str | None = None
    score: float | None = None
    negatives: tuple[str, ...] = ()

    @property
    def answers(self) -> bool:
        """Whether the document answers the query: 0 is how data says that it does not."""
        return self.score is None or self.score > 0


@dataclass(frozen=True, slots=True)
class Question:
    """One row of a generator's data."""

    query: str
    context: str
    """The retrieved text that grounds the answer."""
    answer: str | None = None
    """Reference answer."""
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """One row of a query transform's data."""

    document: str
    """What the query looks for."""
    query: str | None = None
    """None: the document is only searched among."""
    turns: tuple[str, ...] = ()
    """What was said before the query, oldest first."""
    group: str | None = None
    score: float | None = None

    @property
    def answers(self) -> bool:
        """Whether the query looks for the document, as of a Record."""
        return self.score is None or self.score > 0


def read(
    path: Path, kind: DataFormat, columns: Columns, limit: int | None = None
) -> Iterator[Record | None]:
    """Yield the records of a file or folder in a fixed order; None for a row without text.

    limit: rows that are read, good and bad ones; what follows is not looked at.
    Raises BadRows that names the bad rows by kind, as soon as there are too many or at the end.
    """
    yield from read_as(path, kind, Wanted(columns, ("document",)), _record, limit)


def read_questions(
    path: Path, kind: DataFormat, columns: Columns, limit: int | None = None
) -> Iterator[Question | None]:
    """Yield questions as `read` yields records; None for a row without question or context."""
    yield from read_as(path, kind, Wanted(columns, ("query", "context")), _question, limit)


def read_searches(
    path: Path, kind: DataFormat, columns: Columns, limit: int | None = None
) -> Iterator[Search | None]:
    """Yield searches as `read` yields records; the column of the context holds earlier turns."""
    wanted = Wanted(columns, ("document",), ("negatives", "context"))
    yield from read_as(path, kind, wanted, _search, limit)


def read_queries(
    path: Path, kind: DataFormat, columns: Columns, limit: int | None = None
) -> Iterator[tuple[str, str | None] | None]:
    """Yield query and group of each row likewise, for data that has no documents."""
    yield from read_as(path, kind, Wanted(columns, ("query",)), _query, limit)


def read_as[T](
    path: Path,
    kind: DataFormat,
    wanted: Wanted,
    make: Callable[[Place, Mapping[str, Any], Columns], T | Problem | None],
    limit: int | None = None,
) -> Iterator[T | None]:
    """Yield what `make` makes of each row, told its place; raises BadRows like `read`."""
    columns = wanted.columns
    problems, names, rows = Problems(), dict[str, None](), 0
    for place, row in _rows(path, kind, wanted):
        if isinstance(row, Header):
            names |= dict.fromkeys(row.names[:NAMES_KEPT])
            continue
        if rows == limit:
            break
        rows += 1
        if isinstance(row, Mapping) and len(names) < NAMES_KEPT:
            names |= dict.fromkeys(map(str, row))
        found = row if isinstance(row, Problem) else make(place, row, columns)
        if not isinstance(found, Problem):
            yield found
            continue
        problems.add(found)
        if problems.full:
            break
    problems.check()
    _check_whole(names, columns, any_row=rows > 0)


def _check_whole(names: Mapping[str, None], columns: Columns, *, any_row: bool) -> None:
    """Refuse data without rows, or without queries where another column seems to have them."""
    if not any_row:
        raise BadRows("The data has no rows: its files are empty or have a header only. Add rows")
    if columns.query not in names and nearest("query", columns.query, names):
        problem = no_column(Place("the data"), "query", columns.query, names)
        raise BadRows(f"The data has {problem.what} in any row: {problem.detail}")


def _rows(path: Path, kind: DataFormat, wanted: Wanted) -> Iterator[Row]:
    found: tuple[str, list[Path]] = (
        dataset_folders.find(path)
        if kind is DataFormat.HF_DATASET
        else (kind.value, files(path, kind))
    )
    for file in found[1]:
        yield from READERS[found[0]](file, wanted)


def files(path: Path, kind: DataFormat) -> list[Path]:
    """List the data's files, sorted. A file that was named itself may have any suffix."""
    if kind is DataFormat.HF_DATASET:
        return dataset_folders.find(path)[1]
    if path.is_file():
        return [path]
    seen = sorted(file for file in path.rglob("*") if file.is_file() and _visible(file, path))
    found = [file for file in seen if file.name.endswith(SUFFIXES[kind])]
    if found:
        return found
    raise BadRows(
        f"The data has no {kind.value} file: expected names ending with"
        f" {', '.join(SUFFIXES[kind])}, found"
        f" {', '.join(file.name for file in seen[:5]) or 'nothing'}. Set the source's format to"
        " what it is"
    )


def _visible(file: Path, root: Path) -> bool:
    return not any(part.startswith(".") for part in file.relative_to(root).parts)


def _record(place: Place, row: Mapping[str, Any], columns: Columns) -> Record | Problem | None:
    if columns.document not in row:
        return no_column(place, "document", columns.document, row)
    shared = _texts(place, row, (columns.query, columns.document))
    if isinstance(shared, Problem):
        return shared
    query, document = shared
    group, score = _group(place, row, columns), _score(place, row, columns)
    negatives = _negatives(place, row, columns)
    for found in (group, score, negatives):
        if isinstance(found, Problem):
            return found
    if document is None:
        return None
    return Record(document, query, group, score, negatives)  # type: ignore[arg-type]  # no Problem is left


def _question(place: Place, row: Mapping[str, Any], columns: Columns) -> Question | Problem | None:
    for ours in ("query", "context"):
        if getattr(columns, ours) not in row:
            return no_column(place, ours, getattr(columns, ours), row)
    found = _texts(place, row, (columns.query, columns.context, columns.answer))
    group = _group(place, row, columns)
    if isinstance(found, Problem):
        return found
    if isinstance(group, Problem):
        return group
    query, context, answer = found
    return None if query is None or context is None else Question(query, context, answer, group)


def _search(place: Place, row: Mapping[str, Any], columns: Columns) -> Search | Problem | None:
    if columns.document not in row:
        return no_column(place, "document", columns.document, row)
    found = _texts(place, row, (columns.query, columns.document))
    group, turns = _group(place, row, columns), _list(place, row, columns.context)
    score = _score(place, row, columns)
    if isinstance(found, Problem):
        return found
    for one in (group, turns, score):
        if isinstance(one, Problem):
            return one
    query, document = found
    if document is None:
        return None
    return Search(document, query, turns, group, score)  # type: ignore[arg-type]  # no Problem is left


def _query(
    place: Place, row: Mapping[str, Any], columns: Columns
) -> tuple[str, str | None] | Problem | None:
    if columns.query not in row:
        return no_column(place, "query", columns.query, row)
    found, group = _texts(place, row, (columns.query,)), _group(place, row, columns)
    if isinstance(found, Problem):
        return found
    if isinstance(group, Problem):
        return group
    return None if found[0] is None else (found[0], group)


def _texts(
    place: Place, row: Mapping[str, Any], names: tuple[str, ...]
) -> list[str | None] | Problem:
    """Return the texts of some columns, None for those that are absent or blank."""
    found: list[str | None] = []
    for name in names:
        value = row.get(name)
        if value is not None and (wrong := _wrong(value)):
            return Problem(place, f'column "{name}" {wrong}')
        found.append(value if value and value.strip() else None)
    return found


def _wrong(value: Any) -> str | None:
    """Say why a value is no text that can be used, or return None."""
    if isinstance(value, float) and not math.isfinite(value):
        return "is NaN or infinite, expected text"
    if not isinstance(value, str):
        return f"is {KINDS.get(type(value), type(value).__name__)}, expected text"
    if len(value) > LINE_LIMIT:
        return f"is {TOO_LONG}"
    if "\0" in value:
        return "holds NUL characters, which UTF-16 or binary data leaves"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "holds half a surrogate pair, which is no text"
    return None


def _negatives(place: Place, row: Mapping[str, Any], columns: Columns) -> tuple[str, ...] | Problem:
    given = row.get(columns.negatives)
    if given and not isinstance(given, list):
        return Problem(place, f'column "{columns.negatives}" is not a list of texts')
    return _list(place, row, columns.negatives)


def _list(place: Place, row: Mapping[str, Any], name: str) -> tuple[str, ...] | Problem:
    """Return the texts of a column that holds a list of them, or a single one."""
    given = row.get(name)
    if given is None or given == "":
        return ()
    listed = given if isinstance(given, list) else [given]
    for text in listed:
        if wrong := _wrong(text):
            entry = ": an entry" if listed is given else ""
            return Problem(place, f'column "{name}"{entry} {wrong}')
    return tuple(text for text in listed if text.strip())


def _group(place: Place, row: Mapping[str, Any], columns: Columns) -> str | Problem | None:
    value = row.get(columns.group)
    if value is None or value == "":
        return None
    wrong = _wrong(value) if isinstance(value, str | list | dict | bytes) else None
    if wrong or (isinstance(value, float) and not math.isfinite(value)):
        return Problem(place, f'column "{columns.group}" {wrong or "is NaN or infinite"}')
    return str(value)


def _score(place: Place, row: Mapping[str, Any], columns: Columns) -> float | Problem | None:
    value = row.get(columns.score)
    if value is None or value == "":
        return None
    name = f'column "{columns.score}"'
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        kind = KINDS.get(type(value), type(value).__name__)
        return Problem(place, f"{name} is {kind}, expected a number")
    try:
        score = float(value)
    except (ValueError, OverflowError):
        return Problem(place, f"{name} is no number", f"it is {str(value)[:40]!r}")
    return score if math.isfinite(score) else Problem(place, f"{name} is NaN or infinite")
