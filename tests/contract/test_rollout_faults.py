"""The page of faults names every row once, and only tests that exist."""

import ast
import re
from pathlib import Path

import rollout_story

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "rollout-faults.md"
ROWS = 46
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def rows() -> dict[int, str]:
    """Return what the page says about each row."""
    found = re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", PAGE.read_text(), flags=re.MULTILINE)
    return {int(number): tests for number, tests in found}


def test_every_row_is_there_once():
    assert list(rows()) == list(range(1, ROWS + 1))


def test_each_story_stands_in_its_row():
    text, told = rows(), rollout_story.stories()
    for name, story in told:
        place = PAGE.read_text() if story["row"] == 0 else text[story["row"]]
        assert f"story `{name}`" in place, name
    named = re.findall(r"story `([^`]+)`", PAGE.read_text())
    assert sorted(named) == sorted(name for name, _ in told)


def test_each_named_test_exists():
    named = re.findall(r"`(tests/[^`:]+)::(\w+)`", PAGE.read_text())
    assert len(named) > 5
    for path, function in named:
        tree = ast.parse((ROOT / path).read_text())
        assert function in {n.name for n in ast.walk(tree) if isinstance(n, FUNCTIONS)}


def test_a_row_without_a_test_says_so():
    for number, tests in rows().items():
        assert ("`" in tests) != ("not covered" in tests), number
