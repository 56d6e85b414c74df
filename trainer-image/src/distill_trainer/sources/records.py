"""The records of a job's data: what cannot be used is bad input."""

from collections.abc import Iterator
from pathlib import Path

from distill_api.data import Columns, DataFormat
from distill_api.names import Reason
from distill_common import rows
from distill_common.rows import Question, Record, Search

from distill_trainer.errors import BadInput

__all__ = ["Question", "Record", "Search", "queries", "questions", "read", "searches"]


def read(
    path: Path, kind: DataFormat, columns: Columns, limit: int | None = None
) -> Iterator[Record | None]:
    """Yield the records in a fixed order; None for a row without text. Raises BadInput.

    limit: rows that are read; what follows is not looked at.
    """
    try:
        yield from rows.read(path, kind, columns, limit)
    except rows.BadRows as error:
        raise BadInput(Reason.BAD_DATA, str(error)) from error


def questions(
    path: Path, kind: DataFormat, columns: Columns, limit: int | None = None
) -> Iterator[Question | None]:
    """Yield a generator's questions likewise; None for a row without question or context."""
    try:
        yield from rows.read_questions(path, kind, columns, limit)
    except rows.BadRows as error:
        raise BadInput(Reason.BAD_DATA, str(error)) from error


def searches(
    path: Path, kind: DataFormat, columns: Columns, limit: int | None = None
) -> Iterator[Search | None]:
    """Yield a query transform's searches likewise; None for a row without a document's text."""
    try:
        yield from rows.read_searches(path, kind, columns, limit)
    except rows.BadRows as error:
        raise BadInput(Reason.BAD_DATA, str(error)) from error


def queries(
    path: Path, kind: DataFormat, columns: Columns, limit: int | None = None
) -> Iterator[tuple[str, str | None] | None]:
    """Yield query and group of each row of a sample of traffic; None for a row without query."""
    try:
        yield from rows.read_queries(path, kind, columns, limit)
    except rows.BadRows as error:
        raise BadInput(Reason.BAD_DATA, str(error)) from error
