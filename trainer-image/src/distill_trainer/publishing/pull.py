"""Pulls a published student: `python -m distill_trainer.publishing.pull URI FOLDER`."""

import argparse
import sys
from pathlib import Path

from distill_trainer.errors import TrainerError
from distill_trainer.secrets import Secrets
from distill_trainer.sources import oci
from distill_trainer.sources.request import Fetched, Request, Role


def pull(uri: str, into: Path, *, plain_http: bool = False) -> Fetched:
    """Pull an `oci://` artifact into a folder; its files are below `models/`.

    Credentials come from the user's docker configuration. Raises TrainerError with a sentence.
    """
    into.mkdir(parents=True, exist_ok=True)
    request = Request(
        role=Role.STUDENT,
        uri=uri if "://" in uri else f"oci://{uri}",
        into=into,
        secrets=Secrets(into, "default"),
        volumes=into,
        plain_http=plain_http,
    )
    return oci.fetch(request)


def main() -> int:
    """Read the command line, pull, print where the files are."""
    parser = argparse.ArgumentParser(prog="pull", description=__doc__)
    parser.add_argument("uri", help="oci://registry/repository[:tag][@digest]")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--plain-http", action="store_true")
    given = parser.parse_args()
    try:
        fetched = pull(given.uri, given.folder, plain_http=given.plain_http)
    except TrainerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{fetched.path} {fetched.digest}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
