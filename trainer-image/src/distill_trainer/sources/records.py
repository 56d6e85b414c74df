"""The records of a job's data: what cannot be used is bad input."""

from collections.abc import Iterator
from pathlib import Path

from distill_api.names import Reason
from distill_api.sources import Columns, DataFormat
from distill_common import rows
from distill_common.rows import Record

from distill_trainer.errors import BadInput

__all__ = ["Record", "read"]


def read(path: Path, kind: DataFormat, columns: Columns) -> Iterator[Record | None]:
    """Yield the records in a fixed order; None for a row without text. Raises BadInput."""
    try:
        yield from rows.read(path, kind, columns)
    except rows.BadRows as error:
        raise BadInput(Reason.BAD_DATA, str(error)) from error
