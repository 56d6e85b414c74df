"""Holds a folder against the digest that it was published with.

`python -m distill_server.verify --folder FOLDER --digest sha256:...`: the init container of models
on volumes, which anybody with a claim may write to.
"""

import argparse
import logging
import sys
from pathlib import Path

from distill_api.names import Exit

from distill_server import stopping
from distill_server.errors import ServerError
from distill_server.identity import Identity

log = logging.getLogger("distill_server.verify")


class NotTheSame(ServerError):
    """The folder has another content; the sentence says what to do."""


def verify(folder: Path, digest: str) -> None:
    """Read every file of a folder; raises NotTheSame where it is another model, or damaged."""
    if not folder.is_dir():
        raise NotTheSame(f"there is no folder {folder} on the volume: publish the student again")
    found = Identity.of(folder).content
    if found != digest:
        raise NotTheSame(
            f"{folder} has the content {found} and not {digest}, which was asked for: another"
            " student was published there since, or a file was changed. Publish each student to a"
            " path or a registry of its own, or roll out the one that is there"
        )


def main(words: list[str]) -> int:
    """Read the command line and verify; 0, or 78 where the folder has another content."""
    stopping.at_once()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    parser = argparse.ArgumentParser(prog="python -m distill_server.verify", description=__doc__)
    parser.add_argument("--folder", required=True, type=Path, help="folder of the model")
    parser.add_argument("--digest", required=True, help="sha256:... of its content")
    given = parser.parse_args(words)
    try:
        verify(given.folder, given.digest)
    except NotTheSame as error:
        return stopping.give_up(error.sentence)
    log.info("%s has the content %s", given.folder, given.digest)
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
