"""The only door to the API server: JSON objects in and out, errors of our own tree."""

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode

import aiohttp
from distill_api import names

from distill_operator import errors
from distill_operator.effects import answers
from distill_operator.effects.connection import Answer, Connection
from distill_operator.effects.kinds import Kind
from distill_operator.plan.model import Manifest

READ_SECONDS: Final = 30.0
WRITE_SECONDS: Final = 5.0
"""Shorter than the lease's duration less its renew deadline, so that no write of a replica that
lost the lease can arrive after another one has begun."""
PAGE: Final = 500
JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
"""JSON is YAML too, and a server of any version takes it under this name."""
VERSION: Final = Kind("v1", "Info", "version")
"""No kind of the API, but counted like one."""
WRITER: Final[Mapping[str, str]] = {"fieldManager": names.FIELD_MANAGER}

type Count = Callable[[str, str, str, float], None]
"""Called with verb, resource, code and seconds after each call."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call to the API server."""

    verb: str
    kind: Kind
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Manifest | Sequence[Manifest] | None = None
    content: str = JSON

    def __str__(self) -> str:
        return f"{self.verb} {self.path}"


class Cluster:
    """Reads and writes objects of the API server.

    `fence` is called before each write and raises where this replica may not write.
    """

    def __init__(self, connection: Connection, *, fence: Callable[[], None], count: Count) -> None:
        self._connection = connection
        self._fence = fence
        self._count = count

    def require(self) -> None:
        """Raise where this replica may not write."""
        self._fence()

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """Return one object; Missing where there is none."""
        return await self._call(Request("GET", kind, kind.path(namespace, name)))

    async def list(
        self,
        kind: Kind,
        namespace: str | None,
        *,
        labels: str = "",
        fields: str = "",
    ) -> tuple[list[Manifest], str]:
        """Return all objects and the resourceVersion of the list; a consistent read, in pages."""
        found: list[Manifest] = []
        version = ""
        async for page in self._pages(kind, namespace, labels=labels, fields=fields):
            found += page.get("items") or []
            version = page["metadata"]["resourceVersion"]
        head = {"apiVersion": kind.api_version, "kind": kind.kind}
        return [head | item for item in found], version

    async def probe(self, kind: Kind, namespace: str | None) -> None:
        """Ask for one object; Missing where the kind is not served, Refused where it is not ours.

        A consistent answer, but not a whole one: it only tells that a list would work.
        """
        await self._call(Request("GET", kind, kind.path(namespace), {"limit": "1"}))

    async def version(self) -> Manifest:
        """Return what the API server says of its own version."""
        return await self._call(Request("GET", VERSION, "/version"))

    async def _pages(
        self, kind: Kind, namespace: str | None, *, labels: str, fields: str
    ) -> AsyncIterator[Manifest]:
        query = {"limit": str(PAGE), "labelSelector": labels, "fieldSelector": fields}
        more: str | None = ""
        while more is not None:
            request = Request("GET", kind, kind.path(namespace), query | {"continue": more})
            page = await self._call(request)
            yield page
            more = page["metadata"].get("continue") or None

    async def create(self, kind: Kind, body: Manifest, *, namespace: str | None = None) -> Manifest:
        """Create the object; Exists where its name is taken."""
        place = namespace or body.get("metadata", {}).get("namespace")
        query = {**WRITER, "fieldValidation": "Strict"}
        return await self._write(Request("POST", kind, kind.path(place), query, body))

    async def patch(self, kind: Kind, namespace: str, name: str, change: Manifest) -> Manifest:
        """Change fields by JSON merge patch.

        With metadata.resourceVersion in the change: Conflict where the object has changed since.
        """
        path = kind.path(namespace, name)
        return await self._write(Request("PATCH", kind, path, WRITER, change, MERGE_PATCH))

    async def amend(
        self, kind: Kind, namespace: str, name: str, operations: Sequence[Manifest]
    ) -> Manifest:
        """Change an object by JSON patch; Refused whole where one of its `test`s fails."""
        path = kind.path(namespace, name)
        return await self._write(Request("PATCH", kind, path, WRITER, operations, JSON_PATCH))

    async def apply(self, kind: Kind, body: Manifest) -> Manifest:
        """Make the object or its fields as given, by server-side apply; others' fields stay.

        What somebody else wrote into a field of ours is taken back (`force`).
        """
        meta = body["metadata"]
        path = kind.path(meta["namespace"], meta["name"])
        query = {**WRITER, "force": "true", "fieldValidation": "Strict"}
        return await self._write(Request("PATCH", kind, path, query, body, APPLY_PATCH))

    async def replace(self, kind: Kind, body: Manifest, *, sub: str = "") -> Manifest:
        """Write the whole object or its subresource; Conflict where it has changed since."""
        meta = body["metadata"]
        path = kind.path(meta["namespace"], meta["name"], sub=sub)
        return await self._write(Request("PUT", kind, path, WRITER, body))

    async def delete(self, kind: Kind, body: Manifest) -> None:
        """Delete exactly this object, its dependents in the background; gone already is fine.

        Without a policy the API server would leave the pods of a Job behind.
        """
        meta = body["metadata"]
        options = {"propagationPolicy": "Background", "preconditions": {"uid": meta["uid"]}}
        path = kind.path(meta["namespace"], meta["name"])
        try:
            await self._write(Request("DELETE", kind, path, body=options))
        except errors.Missing:
            return

    async def review(self, kind: Kind, body: Manifest) -> Manifest:
        """Ask a question that leaves nothing behind, such as a TokenReview."""
        return await self._call(Request("POST", kind, kind.path(), body=body))

    async def _write(self, request: Request) -> Manifest:
        self._fence()
        return await self._call(request)

    async def _call(self, request: Request) -> Manifest:
        """Make one call; every failure becomes an error of ours, chained."""
        started = time.monotonic()
        code = "none"
        try:
            answer = await self._send(request)
            code = str(answer.code)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise errors.NotYet(f"{request}: no answer from the API server: {error!r}") from error
        finally:
            seconds = time.monotonic() - started
            self._count(request.verb, request.kind.plural, code, seconds)
        if not 200 <= answer.code < 300:
            raise answers.error(str(request), answer.code, answer.body)
        found: Manifest = json.loads(answer.body)
        return found

    async def _send(self, request: Request) -> Answer:
        query = urlencode({key: value for key, value in request.query.items() if value})
        return await self._connection.send(
            request.verb,
            f"{request.path}?{query}" if query else request.path,
            {"Accept": JSON, "Content-Type": request.content},
            request.body,
            READ_SECONDS if request.verb == "GET" else WRITE_SECONDS,
        )
