"""Reads the rows of one file, whatever its format, in bounded memory; broken rows are problems."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from distill_api.data import Columns

from distill_common.problems import Place, Problem, no_column

LINE_LIMIT: Final = 10_000_000
"""Bytes of one line; a longer one is a broken file, not a record."""
BATCH: Final = 1024
"""Rows of a columnar file that are in memory at once."""
TOO_LONG: Final = f"longer than {LINE_LIMIT // 1_000_000} MB"
UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Header:
    """The names of a file's columns, where it has a header."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is read of each row."""

    columns: Columns
    required: tuple[str, ...] = ()
    """Our names of the columns without which no row can be used."""
    lists: tuple[str, ...] = ("negatives",)
    """Our names of the columns that may hold a list of texts."""

    def missing(self, file: str, names: Sequence[str]) -> Problem | None:
        """Return the problem of a header without a required column."""
        for ours in self.required:
            name = getattr(self.columns, ours)
            if name not in names:
                return no_column(Place(file), ours, name, names)
        return None


type Row = tuple[Place, Mapping[str, Any] | Problem | Header]
"""Where a row is (`data.jsonl line 7`), and its columns or what is wrong with it."""
type Read = Callable[[Path, Wanted], Iterator[Row]]


GZIP: Final = b"\x1f\x8b"
ZSTD: Final = b"\x28\xb5\x2f\xfd"


@contextmanager
def _open(file: Path) -> Iterator[IO[bytes]]:
    """Open a file, unpacked on the way where it is compressed.

    Its first bytes say so: names come out of addresses and mounts, which may leave a suffix away.
    """
    with file.open("rb") as raw:
        begin = raw.read(len(ZSTD))
    if begin.startswith(GZIP):
        with gzip.open(file) as lines:
            yield lines  # type: ignore[misc]  # GzipFile reads like one
    elif begin == ZSTD:
        import pyarrow as pa

        with pa.input_stream(str(file), compression="zstd") as stream:
            yield io.BufferedReader(stream)
    elif file.name.endswith((".gz", ".zst")):
        raise EOFError(f"{file.name} does not begin as a compressed file")
    else:
        with file.open("rb") as lines:
            yield lines


def _lines(file: Path) -> Iterator[tuple[int, bytes | Problem]]:
    """Yield numbered lines; ends after one that is too long, or where the packing is broken."""
    number = 0
    try:
        with _open(file) as lines:
            while line := lines.readline(LINE_LIMIT + 1):
                number += 1
                if len(line) > LINE_LIMIT:
                    yield number, Problem(Place(file.name, number), TOO_LONG)
                    return
                yield number, line
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        place = Place(file.name, number + 1)
        yield number + 1, Problem(place, "the compressed file is broken", str(error)[:100])


def jsonl(file: Path, wanted: Wanted) -> Iterator[Row]:
    """Yield the objects of a file with one in each line."""
    del wanted  # each line says itself what it has
    for number, line in _lines(file):
        place = Place(file.name, number)
        if isinstance(line, Problem):
            yield place, line
        elif number == 1 and line.startswith(UTF16):
            yield place, _utf16(place)
            return
        elif line.strip():
            yield place, _parse(place, line)


def _utf16(place: Place) -> Problem:
    return Problem(place, "UTF-16 text, expected UTF-8", "convert it: iconv -f UTF-16 -t UTF-8")


def _parse(place: Place, line: bytes) -> Mapping[str, Any] | Problem:
    try:
        # A mark of the byte order is allowed where the file begins.
        row = json.loads(line.decode("utf-8-sig" if place.number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        return not_utf8(place, error)
    except (ValueError, RecursionError) as error:
        return Problem(place, "not JSON", _reason(line, error))
    if not isinstance(row, dict):
        what = 'not a JSON object such as {"query": "...", "document": "..."}'
        return Problem(place, what, "write each object of the list in a line of its own")
    return row


def _reason(line: bytes, error: Exception) -> str:
    if line.strip() in {b"[", b"{"}:
        return "each object must be in one line: jq -c '.[]' data.json writes them so"
    return str(error)[:120]


def not_utf8(place: Place, error: UnicodeDecodeError) -> Problem:
    """Return the problem of a line in another encoding; counts bytes of the line from 0."""
    value = error.object[error.start]
    return Problem(place, "not UTF-8", f"byte {error.start} of the line is 0x{value:02x}")


def comma_separated(file: Path, wanted: Wanted) -> Iterator[Row]:
    """Yield the rows of a CSV file with a header."""
    csv.field_size_limit(LINE_LIMIT)
    broken: list[Problem] = []
    reader = csv.reader(_decoded(file, broken), strict=True)
    header: list[str] = []
    while True:
        place = Place(file.name, reader.line_num + 1)
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            yield place, Problem(place, "not CSV", str(error)[:120])
            break
        if not fields:
            continue
        if header:
            yield place, _row(place, header, fields, wanted)
            continue
        header = fields
        yield place, Header(tuple(header))
        if problem := _header(file.name, header, wanted):
            yield place, problem
            return
    yield from ((problem.place, problem) for problem in broken)


def _decoded(file: Path, broken: list[Problem]) -> Iterator[str]:
    """Yield lines as text; a byte that is no UTF-8 becomes half a surrogate pair, found later."""
    for number, line in _lines(file):
        if isinstance(line, Problem):
            broken.append(line)
            return
        if number == 1 and line.startswith(UTF16):
            broken.append(_utf16(Place(file.name, number)))
            return
        yield line.decode("utf-8-sig" if number == 1 else "utf-8", errors="surrogateescape")


def _header(file: str, names: list[str], wanted: Wanted) -> Problem | None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        what = f"the header names {', '.join(twice[:3])!r} more than once"
        return Problem(Place(file), what, "each column needs a name of its own")
    return wanted.missing(file, names)


def _row(
    place: Place, header: list[str], fields: list[str], wanted: Wanted
) -> Mapping[str, Any] | Problem:
    if len(fields) != len(header):
        counts = f"{len(fields)} instead of {len(header)}"
        return Problem(place, "another number of fields than the header", counts)
    for name, value in zip(header, fields, strict=True):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            what = f'column "{name[:40]}", byte 0x{ord(value[error.start]) & 0xFF:02x}'
            return Problem(place, "not UTF-8", what)
    row: dict[str, Any] = dict(zip(header, fields, strict=True))
    for ours in wanted.lists:
        name = getattr(wanted.columns, ours)
        if isinstance(cell := row.get(name), str) and cell.strip():
            # Negatives are always a list; what was said before a query may be a single text.
            found = _list(place, name, cell, always=ours == "negatives")
            if isinstance(found, Problem):
                return found
            row[name] = found
    return row


def _list(place: Place, name: str, cell: str, *, always: bool) -> Any:
    """Read a list that is written as JSON in a cell; CSV has no lists.

    always: whether a cell without one is a problem; else it is the text that it is.
    """
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        if always:
            what = f'column "{name}" is no JSON list of texts'
            return Problem(place, what, f"it is {cell[:60]!r}")
        return cell
    return found if always or isinstance(found, list) else cell


def parquet(file: Path, wanted: Wanted) -> Iterator[Row]:
    """Yield the rows of a Parquet file."""
    from pyarrow import parquet as parquets

    def batches() -> Iterator[Any]:
        table = parquets.ParquetFile(file)
        yield table.schema_arrow
        names = _shared(table.schema_arrow.names, wanted)
        yield from table.iter_batches(batch_size=BATCH, columns=names)

    yield from _columnar(file, wanted, batches(), "Parquet")


def arrow(file: Path, wanted: Wanted) -> Iterator[Row]:
    """Yield the rows of an Arrow stream, as `datasets` saves it."""
    import pyarrow as pa

    def batches() -> Iterator[Any]:
        with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as stream:
            yield stream.schema
            names = _shared(stream.schema.names, wanted)
            for batch in stream:
                batch.validate(full=True)  # offsets of a broken file reach outside it
                yield batch.select(names)

    yield from _columnar(file, wanted, batches(), "Arrow")


def _shared(names: Sequence[str], wanted: Wanted) -> list[str]:
    ours = set(wanted.columns.model_dump().values())
    return [name for name in names if name in ours]


def _columnar(file: Path, wanted: Wanted, batches: Iterator[Any], kind: str) -> Iterator[Row]:
    """Yield rows of batches, after the schema that comes first."""
    import pyarrow as pa

    number = 0
    try:
        schema = next(batches)
        yield Place(file.name), Header(tuple(schema.names))
        if problem := _header(file.name, schema.names, wanted) or _nested(file, schema, wanted):
            yield problem.place, problem
            return
        for batch in batches:
            for start in range(0, batch.num_rows, BATCH):
                for row in batch.slice(start, BATCH).to_pylist():
                    number += 1
                    yield Place(file.name, number, "row"), row
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        where = Place(file.name, number and number + 1, "row")
        yield where, Problem(where, f"not {kind} that can be read", str(error)[:120])


def _nested(file: Path, schema: Any, wanted: Wanted) -> Problem | None:
    """Return the problem of a column whose type cannot be a text."""
    import pyarrow as pa

    for ours in ("query", "document", "context", "answer"):
        name = getattr(wanted.columns, ours)
        place = -1 if ours in wanted.lists else schema.get_field_index(name)
        if place >= 0 and pa.types.is_nested(schema.types[place]):
            kind = str(schema.types[place])[:60]
            return Problem(Place(file.name), f'column "{name}" is a {kind}, expected text')
    return None
