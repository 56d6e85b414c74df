"""An OCI registry: oras-py's client with timeouts, streaming uploads and all ways to log in."""

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests
from oras.auth.utils import parse_auth_header
from oras.container import Container
from oras.provider import Registry

TIMEOUT: Final = (10.0, 120.0)
"""Seconds to connect, and without a byte."""
ATTEMPTS: Final = 3
"""Of a request whose connection broke or that was answered by 5xx; the stage's own retries
come on top."""
CHUNK: Final = 1 << 20

log = logging.getLogger(__name__)


class RegistryError(Exception):
    """A registry's answer that is no success; status 0 means that there was no answer."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Client(Registry):  # type: ignore[misc]  # oras is not typed
    """oras-py's Registry with its own way to send requests.

    oras 0.2.43 retries an unreachable registry for two minutes, reads whole blobs into memory,
    waits for ever on a dead connection, does not answer a Basic challenge, and keeps a token that
    was given for pulling when it is asked for one for pushing.
    """

    def __init__(self, host: str, *, plain_http: bool, config: Path | None) -> None:
        super().__init__(hostname=host, insecure=plain_http)
        self._authorization: dict[str, str] = {}
        container = Container(f"{host}/probe/probe")
        self.auth.load_configs(container, configs=[str(config)] if config else None)

    def do_request(  # noqa: PLR0913, PLR0917 - oras's signature
        self,
        url: str,
        method: str = "GET",
        data: Any = None,
        headers: dict[str, str] | None = None,
        json: Any = None,
        stream: bool = False,  # noqa: FBT001, FBT002
    ) -> requests.Response:
        """Send a request; answers a challenge once; raises RegistryError without an answer."""
        call = {"data": data, "json": json, "stream": stream}
        response = self._send(method, url, dict(headers or {}), call)
        if response.status_code == requests.codes.unauthorized and self._answer(response):
            if hasattr(data, "seek"):
                data.seek(0)
            response = self._send(method, url, dict(headers or {}), call)
        return response

    def _send(
        self, method: str, url: str, headers: dict[str, str], call: dict[str, Any]
    ) -> requests.Response:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response: requests.Response = self.session.request(
                    method, url, headers=headers | self._authorization, timeout=TIMEOUT, **call
                )
            except requests.RequestException as error:
                if attempt == ATTEMPTS:
                    raise RegistryError(0, _short(error)) from error
            else:
                if response.status_code < 500 or attempt == ATTEMPTS:
                    return response
            if hasattr(call["data"], "seek"):
                call["data"].seek(0)
            time.sleep(attempt)
        raise AssertionError("the last attempt returns or raises")

    def _answer(self, response: requests.Response) -> bool:
        """Take the credentials that a challenge asks for; False where there are none."""
        raw = response.headers.get("Www-Authenticate", "")
        basic = getattr(self.auth, "_basic_auth", None)
        if raw.lower().startswith("basic"):
            if basic is None or self._authorization:
                return False
            self._authorization = {"Authorization": f"Basic {basic}"}
            return True
        challenge = parse_auth_header(raw)
        if challenge.realm is None:
            return False
        ask = self.auth.request_token if basic else self.auth.request_anonymous_token
        token = ask(challenge)
        if token:
            self._authorization = {"Authorization": f"Bearer {token}"}
        return bool(token)


def _short(error: Exception) -> str:
    """Say in few words why there is no answer; requests nests its reasons deeply."""
    text = str(error)
    for sign in ("Connection refused", "Name or service not known", "timed out", "Network is"):
        if sign in text:
            return sign.lower()
    return f"{type(error).__name__}: {text[:200]}"


@dataclass(frozen=True, slots=True)
class Reference:
    """`registry/repository[:tag][@digest]`."""

    host: str
    repository: str
    tag: str | None
    digest: str | None

    @property
    def name(self) -> str:
        """Return the name without tag and digest."""
        return f"{self.host}/{self.repository}"

    @property
    def container(self) -> Container:
        """Return oras's form of the reference."""
        if self.digest:
            return Container(f"{self.name}@{self.digest}")
        return Container(f"{self.name}:{self.tag or 'latest'}")


def parse(reference: str) -> Reference:
    """Split a reference; raises ValueError where it is none."""
    rest, _, digest = reference.partition("@")
    head, slash, last = rest.rpartition("/")
    if not slash or (digest and not digest.startswith("sha256:")):
        raise ValueError("expected registry/repository[:tag][@sha256:digest]")
    name, _, tag = last.partition(":")
    host, _, path = f"{head}/{name}".partition("/")
    return Reference(host, path, tag or None, digest or None)


def manifest(client: Client, reference: Reference) -> tuple[dict[str, Any], str]:
    """Return a manifest and its digest, checked against the reference's where it has one."""
    import hashlib

    accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
    url = f"{client.prefix}://{reference.container.manifest_url()}"
    response = client.do_request(url, headers={"Accept": accept})
    check(response)
    digest = "sha256:" + hashlib.sha256(response.content).hexdigest()
    if reference.digest and digest != reference.digest:
        raise RegistryError(0, f"the registry answered with {digest} instead")
    content: dict[str, Any] = json.loads(response.content)
    return content, digest


def check(response: requests.Response) -> None:
    """Raise RegistryError where an answer is no success; with the registry's own words."""
    if response.ok:
        return
    try:
        words = "; ".join(error["message"] for error in response.json()["errors"])
    except (ValueError, KeyError, TypeError):
        words = response.reason or ""
    raise RegistryError(response.status_code, f"HTTP {response.status_code} {words}".strip()[:300])
