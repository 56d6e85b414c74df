"""The demo's corpus: what becomes a document, what a query, and what stays together."""

import importlib.util
import json
import sys
import sysconfig
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "demo_corpus", ROOT / "examples" / "embedding" / "corpus.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


corpus = _load()

SOURCE = b'''
"""Ring bells in a tower, e.g. at noon. Bells are numbered from the lightest."""

class Bell:
    """A bell."""

    def ring(self, times, *, softly=False):
        """Swing the bell until it sounds.

        The rope is pulled `times` times.
        """
        def inner():
            """Nobody can name what is defined in here."""

if True:
    async def ring(tower):
        """Swing every bell of a tower in turn."""

def silence(): ...
'''


@pytest.fixture(scope="module")
def library():
    return list(corpus.rows(corpus.library_entries(Path(sysconfig.get_path("stdlib")))))


def test_the_first_sentence_becomes_the_query_and_leaves_the_document():
    rows = list(corpus.rows(corpus.module_entries(SOURCE, "tower")))
    assert [(row.document, row.query) for row in rows] == [
        ("tower\nBells are numbered from the lightest.", "Ring bells in a tower, e.g. at noon."),
        ("tower.Bell\nA bell.", None),
        (
            "tower.Bell.ring(times, softly)\nThe rope is pulled `times` times.",
            "Swing the bell until it sounds.",
        ),
        ("tower.ring(tower)", "Swing every bell of a tower in turn."),
    ]


def test_definitions_of_one_name_share_a_group():
    groups = [row.group for row in corpus.rows(corpus.module_entries(SOURCE, "tower"))]
    assert groups == ["tower", "bell", "ring", "ring"]


def test_a_sentence_that_introduces_two_things_asks_for_neither():
    twins = b'def one():\n  "Do the same thing here."\ndef two():\n  "Do the same thing here."\n'
    rows = list(corpus.rows(corpus.module_entries(twins, "twins")))
    assert [row.query for row in rows] == [None, None]
    assert rows[0].document == "twins.one()\nDo the same thing here."


def test_a_first_paragraph_without_a_full_stop_is_the_whole_sentence():
    assert corpus.split_docstring("Parse a\n   header\n\nReturns a dict.") == (
        "Parse a header",
        "Returns a dict.",
    )


def test_long_docstrings_are_cut_to_a_passage():
    source = f'def f():\n  "Say a great many words. {"word " * 100}"\n'.encode()
    (row,) = corpus.rows(corpus.module_entries(source, "m"))
    assert len(row.document.split()) == 1 + corpus.PASSAGE_WORDS


def test_a_row_without_a_query_has_no_query_field():
    assert json.loads(corpus.Row("text", "group").json()) == {"document": "text", "group": "group"}


def test_the_library_gives_thousands_of_documents_and_the_same_ones_each_time(
    library: list[corpus.Row],
):
    again = list(corpus.rows(corpus.library_entries(Path(sysconfig.get_path("stdlib")))))
    assert again == library
    assert len(library) > 5000
    assert sum(row.query is not None for row in library) > 4000


def test_no_query_is_asked_twice_nor_stands_in_its_own_document(library: list[corpus.Row]):
    asked = [row for row in library if row.query is not None]
    assert len({row.query.casefold() for row in asked}) == len(asked)
    # A body may repeat its summary word for word; that happens, but must stay rare.
    told = sum(row.query.casefold() in row.document.casefold() for row in asked)
    assert told < len(asked) / 100


def test_no_document_text_lies_in_two_groups(library: list[corpus.Row]):
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for row in library:
        groups[row.document].add(row.group)
    assert all(len(found) == 1 for found in groups.values())


def test_nothing_is_imported_while_the_library_is_read(monkeypatch: pytest.MonkeyPatch):
    def refuse(name: str, *_args: object, **_keywords: object) -> None:
        raise AssertionError(f"{name} was imported")

    root = Path(sysconfig.get_path("stdlib"))
    monkeypatch.setattr("builtins.__import__", refuse)
    names = {entry.module for entry in corpus.module_entries((root / "this.py").read_bytes(), "m")}
    monkeypatch.undo()
    assert names == set()


def test_what_is_held_out_is_a_tenth_and_shares_no_group(library: list[corpus.Row]) -> None:
    learnt, probes = corpus.held_out(library)
    assert len(learnt) + len(probes) == len(library)
    assert 0.05 < len(probes) / len(library) < 0.15
    assert not {row.group for row in learnt} & {row.group for row in probes}


def test_a_group_is_held_out_whatever_else_is_there(library: list[corpus.Row]) -> None:
    _, probes = corpus.held_out(library)
    _, again = corpus.held_out(library[::2])
    assert {row.group for row in again} <= {row.group for row in probes}
