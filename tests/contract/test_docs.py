"""What the pages for people name is there: links, anchors, fields, verbs, programs."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from distill_api.generate.files import ROOT

KINDS: Final = {
    "DistillationJob": "distillationjobs",
    "DistilledModelRollout": "distilledmodelrollouts",
}
PAGES: Final = sorted(
    [
        ROOT / "README.md",
        ROOT / "charts/kubedistill/README.md",
        *ROOT.glob("*/README.md"),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
GUIDE: Final = [page for page in PAGES if not {"decisions", "reference"} & set(page.parts)]
"""Pages that are kept up to date; decisions tell what was."""
FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PROGRAMS: Final = ("*/src", "tests/devcluster/src", ".")
FILES: Final = r"\.(md|py|json|jsonl|yaml|lua|onnx|data|plan|html|safetensors|io|com|lock)$"

ELSEWHERE: Final = ("go.", "main.go", "present.N.", "cosign.")
"""How names begin that look like fields: Go's files, a graph's outputs, keys of a Secret."""

type Schema = Mapping[str, Any]


def _named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def _slug(heading: str) -> str:
    """Return the anchor that a heading gets on the pages of the forges."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def _anchors(page: Path) -> set[str]:
    return {_slug(found) for found in re.findall(r"^#+ (.*)$", _prose(page), re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=_named)
def test_what_is_linked_is_there(page: Path) -> None:
    missing = []
    for link in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        place, _, anchor = link.partition("#")
        target = page.parent / place if place else page
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            missing.append(link)
    assert missing == []


def test_links_are_found_at_all() -> None:
    assert sum(len(re.findall(r"\]\(([^)\s]+)\)", _prose(page))) for page in PAGES) > 50
    assert "what-a-pod-gets" not in _anchors(ROOT / "docs/guide/serving.md")
    assert "generators-by-vllm" in _anchors(ROOT / "docs/guide/serving.md")


@pytest.fixture(scope="module")
def schemas() -> dict[str, Schema]:
    """Return the schema of each kind."""
    found = {}
    for kind, plural in KINDS.items():
        text = (ROOT / f"crds/{plural}.kubedistill.io.yaml").read_text(encoding="utf-8")
        (version,) = yaml.load(text, yaml.CSafeLoader)["spec"]["versions"]
        found[kind] = version["schema"]["openAPIV3Schema"]
    return found


def _nodes(schema: Schema, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Schema]]:
    """Yield everything in a schema with its path; lists have none of their own."""
    yield path, schema
    for name, member in schema.get("properties", {}).items():
        yield from _nodes(member, (*path, name))
    if "items" in schema:
        yield from _nodes(schema["items"], path)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _nodes(schema["additionalProperties"], (*path, "*"))


def _values(given: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths of the chart's values."""
    yield path
    for name, value in given.items() if isinstance(given, dict) else ():
        yield from _values(value, (*path, name))


@pytest.fixture(scope="module")
def paths(schemas: dict[str, Schema]) -> set[tuple[str, ...]]:
    """Return the paths of all fields and of the chart's values."""
    values = yaml.safe_load((ROOT / "charts/kubedistill/values.yaml").read_text(encoding="utf-8"))
    fields = {path for schema in schemas.values() for path, _ in _nodes(schema)}
    return fields | set(_values(values))


def _ends(path: tuple[str, ...], wanted: list[str]) -> bool:
    """Tell whether a part of a path is what a page names; pages leave out where it is."""
    count = len(wanted)
    parts = (path[begin : begin + count] for begin in range(len(path) - count + 1))
    return any(
        all(own in {name, "*"} for own, name in zip(part, wanted, strict=True)) for part in parts
    )


@pytest.mark.parametrize("page", GUIDE, ids=_named)
def test_fields_that_are_named_exist(page: Path, paths: set[tuple[str, ...]]) -> None:
    unknown = []
    for quoted in re.findall(r"`([^`\n]+)`", _prose(page)):
        word = quoted.partition(":")[0]
        if not re.fullmatch(r"[a-z][A-Za-z0-9]*(\.[A-Za-z0-9]+(\[[^]]*\])?)+", word):
            continue
        wanted = [re.sub(r"\[.*", "", part) for part in word.split(".")]
        if not re.search(FILES, word) and not any(_ends(path, wanted) for path in paths):
            unknown.append(quoted)
    assert [word for word in unknown if not word.startswith(ELSEWHERE)] == []


def _fits(given: Any, schema: Schema) -> bool:
    """Tell whether every field of an example is in a schema."""
    if isinstance(given, dict):
        known, other = schema.get("properties", {}), schema.get("additionalProperties")
        kept = schema.get("x-kubernetes-preserve-unknown-fields", False)
        return all(
            kept
            or ((name in known or isinstance(other, dict)) and _fits(value, known.get(name, other)))
            for name, value in given.items()
        )
    if isinstance(given, list):
        return "items" in schema and all(_fits(one, schema["items"]) for one in given)
    return given is None or not {"properties", "items"} & schema.keys()


@pytest.mark.parametrize("page", PAGES, ids=_named)
def test_examples_have_no_field_that_does_not_exist(page: Path, schemas: dict[str, Schema]) -> None:
    wrong = []
    for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
        for given in yaml.safe_load_all(text) if language == "yaml" else ():
            own = schemas.get(given.get("kind", ""))
            if own is not None:
                fits = _fits(given["spec"], own["properties"]["spec"])
            else:
                nodes = (node for schema in schemas.values() for _, node in _nodes(schema))
                fits = "kind" in given or any(_fits(given, n) for n in nodes if "properties" in n)
            if not fits:
                wrong.append(text)
    assert wrong == []


@pytest.mark.parametrize("page", GUIDE, ids=_named)
def test_commands_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made = {verb for line in re.findall(r"`make ([^`\n]+)`", text) for verb in line.split()[:1]}
    made |= set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE))
    programs = set(re.findall(r"python -m ([\w.]+)", text))
    missing = {name for name in programs if not _program(name)}
    assert (made - verbs, missing) == (set(), set())


def _program(name: str) -> bool:
    place = name.replace(".", "/")
    ends = (f"{place}.py", f"{place}/__main__.py")
    return any(any(ROOT.glob(f"{start}/{end}")) for start in PROGRAMS for end in ends)
