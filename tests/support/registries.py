"""An OCI registry in memory with the faults that a real one cannot be made to show."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Final

from http_faults import Answer, Call

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"


@dataclass(slots=True)
class Registry:
    """One repository of the distribution API: blobs, uploads in chunks, manifests, tags."""

    chunks: bool = True
    """Takes uploads in chunks."""
    deletes: bool = True
    """Allows to remove manifests."""
    breaks_after: int | None = None
    """Answers 503 to every chunk after so many, until it is set to None."""
    lies: bool = False
    """Gives back another manifest than it was given."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    """What manifests were put as, in this order."""

    def answer(self, call: Call) -> Answer:
        """Answer as a registry, except for the fault."""
        path, _, query = call.path.partition("?")
        if "/blobs/uploads/" in path:
            return self._upload(call, path, query)
        kind, _, name = path.rpartition("/")
        if kind.endswith("/blobs"):
            found = self.blobs.get(name)
            return Answer(404) if found is None else Answer(200, found)
        if kind.endswith("/tags"):
            return Answer(200, json.dumps({"tags": [*self.tags]}).encode())
        return self._manifest(call, name)

    def _upload(self, call: Call, path: str, query: str) -> Answer:
        name = path.rpartition("/")[2]
        if call.method == "POST":
            name = f"u{len(self.uploads) + len(self.blobs)}"
            self.uploads[name] = b""
        elif name not in self.uploads:
            return Answer(404)
        elif call.method == "PUT":
            return self._finish(name, call.body, query.partition("digest=")[2])
        elif call.method == "PATCH":
            if refusal := self._refused(name, call):
                return refusal
            self.uploads[name] += call.body
        status = {"POST": 202, "PATCH": 202, "GET": 204}[call.method]
        return Answer(status, headers=self._where(path.rpartition("/")[0], name))

    def _where(self, base: str, name: str) -> dict[str, str]:
        had = len(self.uploads[name])
        return {"Location": f"{base}/{name}?state=s{had}", "Range": f"0-{max(had - 1, 0)}"}

    def _refused(self, name: str, call: Call) -> Answer | None:
        if not self.chunks:
            return Answer(405)
        if self.breaks_after is not None and self.breaks_after <= 0:
            return Answer(503)
        if self.breaks_after is not None:
            self.breaks_after -= 1
        start = int(call.headers["Content-Range"].partition("-")[0])
        return None if start == len(self.uploads[name]) else Answer(416)

    def _finish(self, name: str, body: bytes, digest: str) -> Answer:
        content = self.uploads.pop(name) + body
        if digest_of(content) != digest:
            return Answer(400)
        self.blobs[digest] = content
        return Answer(201)

    def _manifest(self, call: Call, name: str) -> Answer:
        digest = name if name.startswith("sha256:") else self.tags.get(name, "")
        if call.method == "PUT":
            self.order.append(name)
            self.manifests[digest_of(call.body)] = call.body
            if not name.startswith("sha256:"):
                self.tags[name] = digest_of(call.body)
            return Answer(201)
        if digest not in self.manifests:
            return Answer(404)
        if call.method == "DELETE":
            return self._delete(digest)
        return Answer(
            200, b"{}" if self.lies else self.manifests[digest], {"Content-Type": MANIFEST}
        )

    def _delete(self, digest: str) -> Answer:
        if not self.deletes:
            return Answer(405)
        del self.manifests[digest]
        self.tags = {tag: held for tag, held in self.tags.items() if held != digest}
        return Answer(202)

    def tagged(self, tag: str) -> dict[str, object]:
        """Return the manifest that a tag points to."""
        found: dict[str, object] = json.loads(self.manifests[self.tags[tag]])
        return found


def digest_of(content: bytes) -> str:
    """Return the sha256 digest in OCI's notation."""
    return "sha256:" + hashlib.sha256(content).hexdigest()
