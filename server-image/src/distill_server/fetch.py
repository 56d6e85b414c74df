"""Copies a model's artifact into a folder, as an image volume would show it.

`python -m distill_server.fetch --artifact oci://REPOSITORY@sha256:... --into FOLDER`: the init
container of clusters that mount no image volumes.
"""

import argparse
import logging
import os
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Final

from distill_api.names import DIGEST, Exit
from distill_common import artifacts, registry
from distill_common.archives import BadArchive
from distill_common.registry import Client, RegistryError

from distill_server import stopping
from distill_server.errors import ServerError

STAGING: Final = ".fetching"
"""Below the folder itself, so that what is whole is moved within one file system."""
TOLD_EVERY: Final = 5.0
"""Seconds between two lines of progress."""
TRY_AGAIN: Final = frozenset({0, 408, 429, *range(500, 600)})
"""Statuses of a registry that may pass; 0: no answer, or a damaged one."""

log = logging.getLogger("distill_server.fetch")


class NotFetched(ServerError):
    """The artifact is not there; the sentence says why and what to do."""

    def __init__(self, sentence: str, *, code: int) -> None:
        super().__init__(sentence)
        self.code = code


def fetch(artifact: str, into: Path, *, plain_http: bool = False) -> str:
    """Replace the folder's content by the artifact's; returns the digest. Raises NotFetched.

    What is there of an attempt before is removed first, and nothing appears under its own name
    before every layer has been verified and unpacked.
    """
    reference = _pinned(artifact)
    into.mkdir(parents=True, exist_ok=True)
    _empty(into)
    staging = into / STAGING
    staging.mkdir()
    client = Client(reference.host, plain_http=plain_http, config=_docker_config())
    try:
        digest = artifacts.pull(client, reference, staging, _Teller())
    except RegistryError as error:
        code = Exit.TRY_AGAIN if error.status in TRY_AGAIN else Exit.GIVE_UP
        raise NotFetched(
            f"{artifact} cannot be pulled: {error}. {_hint(error)}", code=code
        ) from error
    except (artifacts.NoLayers, BadArchive) as error:
        raise NotFetched(f"{artifact} is no model: {error}", code=Exit.GIVE_UP) from error
    for entry in sorted(staging.iterdir()):
        entry.rename(into / entry.name)
    staging.rmdir()
    return digest


def _pinned(artifact: str) -> registry.Reference:
    scheme, found, rest = artifact.partition("://")
    try:
        reference = registry.parse(rest)
    except ValueError as error:
        raise NotFetched(f"{artifact!r} is no artifact: {error}", code=Exit.GIVE_UP) from error
    if not found or scheme != "oci" or not re.fullmatch(DIGEST, reference.digest or ""):
        raise NotFetched(
            f"{artifact!r} is not pinned: expected oci://registry/repository@sha256:... with 64"
            " hexadecimal digits, as a tag may be moved to another model",
            code=Exit.GIVE_UP,
        )
    return reference


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _docker_config() -> Path | None:
    """Return the credentials that are mounted, if any."""
    folder = os.environ.get("DOCKER_CONFIG")
    path = Path(folder) / "config.json" if folder else None
    return path if path is not None and path.is_file() else None


def _hint(error: RegistryError) -> str:
    if error.status in {401, 403}:
        return "Name a Secret that may pull it in artifact.secretRef"
    if error.status == 404:
        return "Check repository and digest"
    return "Check that the registry runs, and plainHttp if it has no TLS"


class _Teller:
    """Tells how far it is, now and then."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def __call__(self, done: float, total: float) -> None:
        now = time.monotonic()
        if now - self._told >= TOLD_EVERY or done == total:
            self._told = now
            log.info("%.1f of %.1f MB", done / 1e6, total / 1e6)


def main(words: list[str]) -> int:
    """Read the command line and fetch; 0, 75 where trying again may help, 78 where it cannot."""
    stopping.at_once()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    parser = argparse.ArgumentParser(prog="python -m distill_server.fetch", description=__doc__)
    parser.add_argument("--artifact", required=True, help="oci://registry/repository@sha256:...")
    parser.add_argument("--into", required=True, type=Path, help="folder that is replaced")
    parser.add_argument("--plain-http", action="store_true", help="the registry has no TLS")
    given = parser.parse_args(words)
    try:
        digest = fetch(given.artifact, given.into, plain_http=given.plain_http)
    except NotFetched as error:
        stopping.give_up(error.sentence)
        return error.code
    log.info("%s is in %s", digest, given.into)
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
