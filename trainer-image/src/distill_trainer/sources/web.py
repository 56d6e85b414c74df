"""Sources behind `http://` and `https://`: one file, or an archive that is unpacked."""

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from distill_trainer import fingerprints
from distill_trainer.errors import TrainerError, last_line
from distill_trainer.sources import archives
from distill_trainer.sources.request import Fetched, Request

if TYPE_CHECKING:
    import httpx

TIMEOUT = 60.0
"""Seconds without a byte."""
CHUNK = 1 << 20


def fetch(request: Request) -> Fetched:
    """Download a file in parts of a MiB."""
    import httpx

    name = PurePosixPath(unquote(urlsplit(request.uri).path)).name or "download"
    target = request.into / name
    try:
        with httpx.stream(
            "GET", request.uri, headers=_headers(request), follow_redirects=True, timeout=TIMEOUT
        ) as response:
            if response.is_error:
                raise refusal(request, response.status_code)
            _save(response, target, request)
    except (httpx.TransportError, httpx.InvalidURL, httpx.TooManyRedirects) as error:
        raise request.unreachable(last_line(error)) from error
    if not archives.is_archive(name):
        return Fetched(target, fingerprints.tree_digest(target))
    digest = fingerprints.tree_digest(target)
    archives.unpack(target, request.into / "unpacked")
    target.unlink()
    return Fetched(request.into / "unpacked", digest)


def _headers(request: Request) -> dict[str, str]:
    if request.secret is None:
        return {}
    return {"Authorization": f"Bearer {request.secrets.token(request.secret, 'token')}"}


def refusal(request: Request, code: int) -> TrainerError:
    """Say what an HTTP status means for a source."""
    if code in {401, 403}:
        return request.refused(f"HTTP {code}")
    if code in {404, 410}:
        return request.missing(f"HTTP {code}")
    return request.unreachable(f"HTTP {code}")


def _save(response: "httpx.Response", target: Path, request: Request) -> None:
    total = int(response.headers.get("Content-Length", 0))
    done = 0
    with target.open("wb") as file:
        for chunk in response.iter_bytes(CHUNK):
            file.write(chunk)
            done += len(chunk)
            if total:
                request.tell(done, total)
