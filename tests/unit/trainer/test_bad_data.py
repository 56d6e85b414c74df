"""Bad data of every component is told with row numbers before its teacher is fetched."""

import json
from pathlib import Path
from typing import Any

import pytest
from distill_api.names import Reason
from distill_trainer.errors import BadInput
from distill_trainer.process import RUN
from trainer import SPEC, a_context, a_task

GOOD = 200
"""Rows before the bad ones, each in a group of its own."""
COMPONENTS: dict[str, tuple[dict[str, Any], str]] = {
    "Embedding": ({"embedding": {"mse": {}}}, "document"),
    "Reranker": ({"reranker": {"marginMse": {}}}, "document"),
    "Generator": ({"generator": {"outputs": {}}}, "context"),
}
"""Recipe, and the column that every row needs beside the query."""

Rows = list[dict[str, Any]]


def line(row: dict[str, Any]) -> bytes:
    return json.dumps(row).encode()


def good(text: str, number: int) -> dict[str, Any]:
    return {"query": f"question {number}", text: f"text {number}"}


def each_alone(text: str) -> list[bytes]:
    """Make a class of one row beside one that has all others: groups never part."""
    rows = [good(text, number) | {"group": "common"} for number in range(GOOD)]
    return [*map(line, rows), line(good(text, GOOD) | {"group": "rare"})]


CASES: list[tuple[str, bytes, str]] = [
    ("a wrong column", b'{"query": "q", "passages": "p"}', 'no column "TEXT" (there are query, pa'),
    ("a number as text", b'{"query": "q", "TEXT": 7}', 'column "TEXT" is a number, expected text'),
    ("NaN as text", b'{"query": "q", "TEXT": NaN}', 'column "TEXT" is NaN or infinite'),
    ("mixed encodings", '{"query": "ä"}'.encode("latin-1"), "not UTF-8 (byte 11 of the line is 0x"),
    ("a line of 10 MB", b'{"query": "' + b"x" * 10_000_000 + b'"}', "longer than 10 MB"),
    ("half a surrogate pair", b'{"query": "q", "TEXT": "\\ud83d"}', 'column "TEXT" holds half a'),
    ("half a pair in the query", b'{"query": "\\udc00", "TEXT": "t"}', 'column "query" holds half'),
    ("broken JSON", b'{"query": ', "not JSON"),
]
"""The row after GOOD ones, and what is said of it; TEXT is the component's column."""
SCORED = {"Embedding", "Reranker"}


def refused(folder: Path, component: str, lines: list[bytes]) -> str:
    """Return the sentence by which the label stage refuses data; its teacher is nowhere."""
    data = folder / "data.jsonl"
    data.write_bytes(b"\n".join(lines) + b"\n")
    recipe, _ = COMPONENTS[component]
    source = {"source": {"uri": f"file://{data}"}}
    task = a_task(folder, component=component, recipe=recipe, data=source)
    with pytest.raises(BadInput) as caught:
        RUN[task.stage](a_context(task, folder))
    assert caught.value.reason is Reason.BAD_DATA
    assert str(SPEC["teacher"]["model"]["uri"]) not in caught.value.sentence
    return caught.value.sentence


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize(("why", "bad", "expected"), CASES, ids=[case[0] for case in CASES])
def test_a_bad_row_is_named_whatever_the_component(
    tmp_path: Path, component: str, why: str, bad: bytes, expected: str
):
    text = COMPONENTS[component][1]
    lines = [line(good(text, number)) for number in range(GOOD)]
    sentence = refused(tmp_path, component, [*lines, bad.replace(b"TEXT", text.encode())])
    assert f"line {GOOD + 1}: {expected.replace('TEXT', text)}" in sentence


@pytest.mark.parametrize("component", sorted(SCORED))
def test_a_score_that_is_no_number_is_named(tmp_path: Path, component: str):
    lines = [line(good("document", number)) for number in range(GOOD)]
    lines[6] = b'{"query": "q", "document": "d", "score": NaN}'
    assert 'line 7: column "score" is NaN or infinite' in refused(tmp_path, component, lines)


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_class_of_one_row_cannot_fill_a_split_and_is_named(tmp_path: Path, component: str):
    sentence = refused(tmp_path, component, each_alone(COMPONENTS[component][1]))
    told = f'the smallest has 1 of the group "rare" (first in row {GOOD + 1})'
    assert f"The data has 2 groups: validation has none, and {told}" in sentence


@pytest.mark.parametrize("component", COMPONENTS)
def test_rows_without_text_are_named_where_too_few_are_left(tmp_path: Path, component: str):
    text = COMPONENTS[component][1]
    lines = [line(good(text, number)) for number in range(12)]
    lines[2:2] = [line({"query": "q", text: "  "}), line({"query": "q", text: None})]
    assert "2 rows have no text (3, 4)" in refused(tmp_path, component, lines)
