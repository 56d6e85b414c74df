"""Archives of a job's sources: what is broken or unsafe is bad input."""

from pathlib import Path

from distill_api.names import Reason
from distill_common import archives
from distill_common.archives import is_archive

from distill_trainer.errors import BadInput

__all__ = ["is_archive", "unpack"]


def unpack(archive: Path, into: Path) -> None:
    """Unpack a tar or zip file; raises BadInput where it is broken or reaches outside."""
    try:
        archives.unpack(archive, into)
    except archives.BadArchive as error:
        raise BadInput(Reason.BAD_DATA, str(error)) from error
