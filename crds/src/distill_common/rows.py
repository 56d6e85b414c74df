"""Reads records from JSON lines, Parquet or CSV, and names the rows that cannot be used."""

import csv
import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from distill_api.sources import Columns, DataFormat

LINE_LIMIT: Final = 10_000_000
"""Bytes of one line; a longer one is a broken file, not a record."""
PROBLEMS_SHOWN: Final = 3
PROBLEMS_LIMIT: Final = 20
"""After so many bad rows reading stops."""
SUFFIXES: Final[Mapping[DataFormat, tuple[str, ...]]] = {
    DataFormat.JSONL: (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz"),
    DataFormat.CSV: (".csv", ".csv.gz"),
    DataFormat.PARQUET: (".parquet",),
}


class BadRows(Exception):
    """Data that cannot be used; the text names the first rows and what is wrong with them."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row of the data."""

    document: str
    query: str | None = None
    """None: the document is only searched among."""
    group: str | None = None
    score: float | None = None
    negatives: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a row cannot be used."""

    place: str
    what: str


type Row = tuple[str, Mapping[str, Any] | Problem]
"""Where a row is (`data.jsonl line 7`), and its columns or what is wrong with it."""


def read(path: Path, kind: DataFormat, columns: Columns) -> Iterator[Record | None]:
    """Yield the records of a file or folder in a fixed order; None for a row without text.

    Raises BadRows that names the first bad rows, as soon as there are too many or at the end.
    """
    problems: list[Problem] = []
    for place, row in _rows(path, kind, columns):
        found = row if isinstance(row, Problem) else _record(place, row, columns)
        if not isinstance(found, Problem):
            yield found
            continue
        problems.append(found)
        if len(problems) >= PROBLEMS_LIMIT:
            break
    if problems:
        raise BadRows(_sentence(problems))


def _sentence(problems: list[Problem]) -> str:
    shown = "; ".join(f"{problem.place} {problem.what}" for problem in problems[:PROBLEMS_SHOWN])
    more = len(problems) - PROBLEMS_SHOWN
    rest = f"; and {more} more" if more > 0 else ""
    return f"The data has rows that cannot be used: {shown}{rest}. Correct or remove them"


def _rows(path: Path, kind: DataFormat, columns: Columns) -> Iterator[Row]:
    readers: Mapping[DataFormat, Callable[[Path], Iterator[Row]]] = {
        DataFormat.JSONL: _jsonl,
        DataFormat.CSV: _csv,
        DataFormat.PARQUET: lambda file: _parquet(file, columns),
    }
    for file in files(path, kind):
        yield from readers[kind](file)


def files(path: Path, kind: DataFormat) -> list[Path]:
    """List the data's files, sorted. A file that was named itself may have any suffix."""
    if path.is_file():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.name.endswith(SUFFIXES[kind]))
    if found:
        return found
    there = sorted(file.name for file in path.rglob("*") if file.is_file())[:5]
    raise BadRows(
        f"The data has no {kind.value} file: expected names ending with"
        f" {', '.join(SUFFIXES[kind])}, found {', '.join(there) or 'nothing'}. Set"
        " the source's format to what it is"
    )


def _open(file: Path) -> IO[bytes]:
    return gzip.open(file) if file.name.endswith(".gz") else file.open("rb")  # type: ignore[return-value]  # GzipFile reads like one


def _jsonl(file: Path) -> Iterator[Row]:
    with _open(file) as lines:
        number = 0
        while line := lines.readline(LINE_LIMIT + 1):
            number += 1
            place = f"{file.name} line {number}"
            if len(line) > LINE_LIMIT:
                yield place, Problem(place, f"is longer than {LINE_LIMIT // 1_000_000} MB")
                return
            if line.strip():
                yield place, _parse(place, line)


def _parse(place: str, line: bytes) -> Mapping[str, Any] | Problem:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return Problem(place, f"is not UTF-8 (byte {error.start})")
    except (ValueError, RecursionError) as error:
        return Problem(place, f"is not JSON ({error})")
    if not isinstance(row, dict):
        return Problem(place, 'is not a JSON object such as {"query": "...", "document": "..."}')
    return row


def _csv(file: Path) -> Iterator[Row]:
    csv.field_size_limit(LINE_LIMIT)
    with _open(file) as raw:
        lines = (line.decode("utf-8-sig") for line in raw)
        reader = csv.DictReader(lines, strict=True)
        while True:
            place = f"{file.name} line {reader.line_num + 1}"
            try:
                if reader.line_num == 0 and reader.fieldnames:
                    continue  # the header is read; the next row has a line of its own
                row = next(reader)
            except StopIteration:
                return
            except UnicodeDecodeError:
                yield place, Problem(place, "is not UTF-8")
                return
            except csv.Error as error:
                yield place, Problem(place, f"is not CSV ({error})")
                return
            yield place, _unpack_negatives(row)


def _unpack_negatives(row: dict[str, Any]) -> dict[str, Any]:
    """Read a list that is written as JSON in a cell; CSV has no lists."""
    return {
        name: json.loads(value) if isinstance(value, str) and value.startswith('["') else value
        for name, value in row.items()
    }


def _parquet(file: Path, columns: Columns) -> Iterator[Row]:
    import pyarrow as pa
    from pyarrow import parquet

    wanted = set(columns.model_dump().values())
    try:
        table = parquet.ParquetFile(file)
        names = [name for name in table.schema_arrow.names if name in wanted]
        number = 0
        for batch in table.iter_batches(columns=names or None):
            for row in batch.to_pylist():
                number += 1
                yield f"{file.name} row {number}", row
    except pa.ArrowException as error:
        place = file.name
        yield place, Problem(place, f"is not a Parquet file that can be read ({error})")


def _record(place: str, row: Mapping[str, Any], columns: Columns) -> Record | Problem | None:
    if columns.document not in row:
        names = ", ".join(str(name) for name in list(row)[:8])
        what = f'has no column "{columns.document}" (it has {names}); name yours in columns'
        return Problem(place, what)
    texts = {name: row.get(name) for name in (columns.query, columns.document)}
    negatives = row.get(columns.negatives) or []
    for name, value in texts.items():
        if value is not None and (wrong := _wrong(value)):
            return Problem(place, f'column "{name}" {wrong}')
    if not isinstance(negatives, list) or any(map(_wrong, negatives)):
        return Problem(place, f'column "{columns.negatives}" is not a list of texts')
    document = texts[columns.document]
    if not document or not document.strip():
        return None
    query = texts[columns.query]
    return Record(
        document=document,
        query=query if query and query.strip() else None,
        group=_text(row.get(columns.group)),
        score=_number(row.get(columns.score)),
        negatives=tuple(text for text in negatives if text.strip()),
    )


def _wrong(value: Any) -> str | None:
    if not isinstance(value, str):
        return f"is of type {type(value).__name__}, expected text"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "holds half a surrogate pair, which is no text"
    return None


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _number(value: Any) -> float | None:
    try:
        return None if value in {None, ""} else float(value)
    except (TypeError, ValueError):
        return None
