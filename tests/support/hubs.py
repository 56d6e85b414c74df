"""A Hugging Face hub on loopback: the endpoints that its client uses to publish and to download.

Written after what huggingface_hub sends: repos/create, branch, refs, tag, preupload, the LFS batch
with its upload and verify links, commit, tree, paths-info, resolve.
"""

import hashlib
import json
from base64 import b64decode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, unquote

from http_faults import Answer, Call

TOKEN: Final = "hf_" + "tiny" * 8
LARGE: Final = (".safetensors", ".bin")


@dataclass(frozen=True, slots=True)
class Commit:
    """A state of the repository: names and contents."""

    oid: str
    files: dict[str, bytes]


@dataclass(slots=True)
class Hub:
    """One user's hub; a repository is made by its first create."""

    url: str = ""
    branches: dict[str, Commit] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    """Large files, by sha256: uploaded, but readable only through a commit."""
    private: bool | None = None
    uploads: list[str] = field(default_factory=list)
    fault: Callable[[Call], Answer | None] = lambda _: None

    def answer(self, call: Call) -> Answer:
        """Answer as the hub does, except for the fault."""
        if found := self.fault(call):
            return found
        if call.headers.get("authorization") != f"Bearer {TOKEN}" and "/lfs/" not in call.path:
            return _error(401, "Invalid credentials in Authorization header")
        path, _, query = call.path.partition("?")
        steps = [unquote(step) for step in path.strip("/").split("/")]
        if steps[0] == "api":
            return self._api(call, steps[1:])
        if steps[0] == "lfs":
            return self._object(call, steps)
        if ".git/info/lfs/objects/batch" in path:
            return self._batch(call)
        del query
        return self._resolve(steps)

    def _api(self, call: Call, steps: list[str]) -> Answer:
        if steps == ["validate-yaml"]:
            return _json({"errors": [], "warnings": []})
        if steps == ["repos", "create"]:
            return self._create(call)
        name, rest = "/".join(steps[1:3]), steps[3:]
        if not self.branches:
            return _error(404, "Repository not found", "RepoNotFound")
        kind = rest[0] if rest else "info"
        handle: dict[str, Callable[[], Answer]] = {
            "info": lambda: self._info(name, "main"),
            "revision": lambda: self._info(name, rest[1]),
            "branch": lambda: self._branch(rest[1]),
            "refs": self._refs,
            "tag": lambda: self._tag(call, rest[1]),
            "preupload": lambda: self._preupload(call, rest[1]),
            "commit": lambda: self._commit(call, rest[1]),
            "tree": lambda: _json([_info(n, c) for n, c in self._at(rest[1]).files.items()]),
            "paths-info": lambda: self._paths(call, rest[1]),
        }
        return handle[kind]()

    def _at(self, revision: str) -> Commit:
        known = self.branches.get(revision) or self.commits.get(self.tags.get(revision, revision))
        return known or Commit("", {})

    def _create(self, call: Call) -> Answer:
        asked = json.loads(call.body)
        url = f"{self.url}/{asked.get('organization') or 'me'}/{asked['name']}"
        if self.branches:
            return _error(409, "You already created this model repo", url=url)
        self.private = asked.get("visibility") == "private"
        self._move("main", {".gitattributes": b"*.safetensors filter=lfs\n"})
        return _json({"url": url})

    def _move(self, branch: str, files: dict[str, bytes]) -> Commit:
        made = Commit(f"{len(self.commits) + 1:040x}", files)
        self.commits[made.oid] = made
        self.branches[branch] = made
        return made

    def _info(self, name: str, revision: str) -> Answer:
        commit = self._at(revision)
        if not commit.oid:
            return _error(404, "Invalid rev id", "RevisionNotFound")
        siblings = [{"rfilename": file} for file in commit.files]
        return _json({"id": name, "sha": commit.oid, "siblings": siblings, "private": True})

    def _branch(self, name: str) -> Answer:
        if name in self.branches:
            return _error(409, "Reference already exists")
        self.branches[name] = self.branches["main"]
        return _json({})

    def _refs(self) -> Answer:
        tags = [
            {"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": oid}
            for tag, oid in self.tags.items()
        ]
        return _json({"branches": [], "converts": [], "tags": tags})

    def _tag(self, call: Call, name: str) -> Answer:
        if call.method == "DELETE":
            del self.tags[name]
            return _json({})
        tag = json.loads(call.body)["tag"]
        if tag in self.tags:
            return _error(409, "Tag reference exists already")
        self.tags[tag] = self._at(name).oid
        return _json({})

    def _preupload(self, call: Call, revision: str) -> Answer:
        there = self._at(revision).files
        files = [
            {
                "path": (path := file["path"]),
                "uploadMode": "lfs" if path.endswith(LARGE) else "regular",
                "shouldIgnore": False,
                **({"oid": _oid(path, there[path])} if path in there else {}),
            }
            for file in json.loads(call.body)["files"]
        ]
        return _json({"files": files})

    def _batch(self, call: Call) -> Answer:
        objects = []
        for asked in json.loads(call.body)["objects"]:
            entry = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in self.objects:
                href = f"{self.url}/lfs/{asked['oid']}"
                entry["actions"] = {"upload": {"href": href}, "verify": {"href": f"{href}/verify"}}
            objects.append(entry)
        return _json({"transfer": "basic", "objects": objects})

    def _object(self, call: Call, steps: list[str]) -> Answer:
        oid = steps[1]
        if call.method == "PUT":
            self.objects[oid] = call.body
            self.uploads.append(oid)
            return Answer(200)
        same = hashlib.sha256(self.objects.get(oid, b"")).hexdigest() == oid
        return _json({}) if same else _error(422, "The object is damaged")

    def _commit(self, call: Call, branch: str) -> Answer:
        lines = [json.loads(line) for line in call.body.splitlines()]
        header, changes = lines[0]["value"], lines[1:]
        if header.get("parentCommit", self.branches[branch].oid) != self.branches[branch].oid:
            return _error(412, "A commit has happened since. Please refresh and try again.")
        files = dict(self.branches[branch].files)
        for change in changes:
            value = change["value"]
            if change["key"] == "deletedFile":
                del files[value["path"]]
            elif change["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
            else:
                files[value["path"]] = b64decode(value["content"])
        made = self._move(branch, files)
        url = f"{self.url}/me/demo/commit/{made.oid}"
        return _json({"commitUrl": url, "commitOid": made.oid, "pullRequestUrl": None})

    def _paths(self, call: Call, revision: str) -> Answer:
        files = self._at(revision).files
        wanted: Iterable[str] = parse_qs(call.body.decode())["paths"]
        return _json([_info(name, files[name]) for name in wanted if name in files])

    def _resolve(self, steps: list[str]) -> Answer:
        commit, name = self._at(steps[3]), "/".join(steps[4:])
        if name not in commit.files:
            return _error(404, "Entry not found", "EntryNotFound")
        content = commit.files[name]
        headers = {"ETag": f'"{_oid(name, content)}"', "X-Repo-Commit": commit.oid}
        if name.endswith(LARGE):
            linked = {
                "X-Linked-Etag": f'"{_oid(name, content)}"',
                "X-Linked-Size": str(len(content)),
            }
            headers |= linked
        return Answer(200, content, headers)


def _info(name: str, content: bytes) -> dict[str, Any]:
    known = {"type": "file", "path": name, "size": len(content), "oid": _git(content)}
    if name.endswith(LARGE):
        known["lfs"] = {"oid": _oid(name, content), "size": len(content), "pointerSize": 134}
    return known


def _oid(name: str, content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if name.endswith(LARGE) else _git(content)


def _git(content: bytes) -> str:
    blob = b"blob %d\0%b" % (len(content), content)
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest()


def _json(content: Any) -> Answer:
    return Answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})


def _error(status: int, message: str, code: str = "", **more: str) -> Answer:
    headers = {"Content-Type": "application/json", "X-Error-Message": message}
    if code:
        headers["X-Error-Code"] = code
    return Answer(status, json.dumps({"error": message, **more}).encode(), headers)
