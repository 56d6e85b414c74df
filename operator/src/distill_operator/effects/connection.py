"""The way to the API server: found from inside the cluster or by a kubeconfig, kept logged in."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import aiohttp
import kopf
from yaml import YAMLError

from distill_operator.errors import BadSettings
from distill_operator.plan.model import Manifest

RENEWAL_SECONDS: Final = 60.0
"""How often the service account's token is read anew: the kubelet replaces the file."""


def login() -> kopf.ConnectionInfo:
    """Return where the API server is and how to log in.

    In a pod by the service account's files; elsewhere by the file that KUBECONFIG names, with
    certificates, a token or a password (not by plugins). Raises BadSettings where there is neither.
    """
    settings = kopf.OperatorSettings()
    settings.networking.trust_env = True
    try:
        inside = kopf.login_with_service_account(settings=settings)
        found = _by_address(inside) if inside else kopf.login_with_kubeconfig(settings=settings)
    except (OSError, LookupError, ValueError, YAMLError, kopf.LoginError) as error:
        raise BadSettings(f"the kubeconfig cannot be used: {error!r}") from error
    if found is None:
        raise BadSettings(
            "no way to a Kubernetes API server was found:"
            " run in a pod with a service account, or set KUBECONFIG"
        )
    return found


def _by_address(found: kopf.ConnectionInfo) -> kopf.ConnectionInfo:
    """Go by the address that every pod is told, so that no name service is needed."""
    host, port = (
        os.environ.get("KUBERNETES_SERVICE_HOST"),
        os.environ.get("KUBERNETES_SERVICE_PORT"),
    )
    if not host or not port:
        return found
    return replace(found, server=f"https://{f'[{host}]' if ':' in host else host}:{port}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status code and the body."""

    code: int
    body: bytes


class Connection:
    """An HTTP session with the API server, used as an asynchronous context manager."""

    def __init__(self) -> None:
        self._info = login()
        self._read = time.monotonic()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._info.as_ssl_context(), limit=100)
        self._session = aiohttp.ClientSession(connector=connector, trust_env=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(
        self,
        verb: str,
        path: str,
        headers: Mapping[str, str],
        body: Manifest | Sequence[Manifest] | None,
        limit: float,
    ) -> Answer:
        """Send one request and read its whole answer within `limit` seconds."""
        if self._session is None:
            raise RuntimeError("a Connection is used inside `async with`")
        async with self._session.request(
            verb,
            f"{self._info.server}{path}",
            data=None if body is None else json.dumps(body),
            headers={**headers, **self._credentials()},
            timeout=aiohttp.ClientTimeout(total=limit),
            proxy=self._info.proxy_url,
        ) as response:
            return Answer(response.status, await response.read())

    def _credentials(self) -> Mapping[str, str]:
        if time.monotonic() - self._read > RENEWAL_SECONDS:
            self._info, self._read = login(), time.monotonic()
        return self._info.as_http_headers()
