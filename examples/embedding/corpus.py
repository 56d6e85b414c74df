"""Make a retrieval corpus from the docstrings of Python's standard library.

Every machine that runs this project has one, its questions and answers are known without a judge,
and it is the same for one Python version: sources are parsed, never imported, in sorted order.

Each documented module, class and function is one document: its qualified name, its signature and
the body of its docstring. Where the docstring's first sentence describes it and enough text is
left without that sentence, the sentence becomes the query that should find the document.
"""

import argparse
import ast
import inspect
import json
import re
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# Tests, bundled third-party code and folders that distributions ship apart or not at all:
# without them Debian's, a built and a standalone Python of one version give one corpus.
SKIPPED = frozenset(
    {
        "__pycache__", "_bundled", "config", "dist-packages", "distutils", "ensurepip", "idlelib",
        "lib-dynload", "lib2to3", "pydoc_data", "site-packages", "test", "tests", "tkinter",
        "turtledemo",
    }
)  # fmt: skip

MIN_QUERY_WORDS = 4
"""Shorter first sentences ("Return self.") describe nothing that could be searched for."""
MIN_BODY_WORDS = 8
"""With less text left, a document without its first sentence says nothing."""

# A full stop ends a sentence when space follows, but not in "e.g. this" or "i.e. that".
FIRST_SENTENCE = re.compile(
    r"(.+?(?<!\be\.g)(?<!\bi\.e)(?<!\betc)(?<!\bvs)[.!?])(?=\s|$)", re.DOTALL
)

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Entry:
    """One documented thing of the library."""

    module: str
    heading: str
    """Qualified name, for functions with the signature."""
    summary: str
    """The docstring's first sentence."""
    body: str
    """The docstring without its first sentence."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the data set; without a query it is only there to be searched among."""

    document: str
    group: str
    """Rows of one group stay in one split, so a module is learned from or tested on, not both."""
    query: str | None = None

    def json(self) -> str:
        """Write the row as one line of JSON."""
        query = {} if self.query is None else {"query": self.query}
        return json.dumps({**query, "document": self.document, "group": self.group})


def one_line(text: str) -> str:
    """Join lines and runs of blanks by single spaces."""
    return " ".join(text.split())


def split_docstring(docstring: str) -> tuple[str, str]:
    """Cut a docstring into its first sentence and the rest.

    The first sentence ends with its punctuation, or with its paragraph where it has none.
    """
    paragraph, _, others = inspect.cleandoc(docstring).partition("\n\n")
    sentence = FIRST_SENTENCE.match(paragraph)
    end = sentence.end() if sentence else len(paragraph)
    return one_line(paragraph[:end]), one_line(f"{paragraph[end:]} {others}")


def documented(node: ast.AST, name: str) -> Iterator[tuple[str, Documented]]:
    """Yield the definitions that a reader of the documentation can name, outermost first."""
    if isinstance(node, Documented):
        yield name, node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # What is defined inside a function has no name outside of it.
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from documented(child, f"{name}.{child.name}")
        elif isinstance(child, ast.If | ast.Try):
            yield from documented(child, name)


def heading(name: str, node: Documented) -> str:
    """Give the line that introduces a definition in a manual."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return f"{name}({ast.unparse(node.args)})"
    return name


def module_entries(source: bytes, module: str) -> Iterator[Entry]:
    """Read the entries of one module from its source; raises SyntaxError where it is not Python."""
    for name, node in documented(ast.parse(source), module):
        docstring = ast.get_docstring(node, clean=False)
        if docstring and docstring.strip():
            yield Entry(module, heading(name, node), *split_docstring(docstring))


def module_name(path: Path) -> str:
    """Turn `json/__init__.py` into `json` and `json/decoder.py` into `json.decoder`."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def library_entries(root: Path) -> Iterator[Entry]:
    """Read the whole library below `root`, in the order of its module names."""
    paths = (path.relative_to(root) for path in root.rglob("*.py"))
    # distributions add files such as `_sysconfigdata__linux_x86_64-linux-gnu.py`: no docs there
    kept = (path for path in paths if not SKIPPED.intersection(path.parts))
    for path in sorted(kept, key=lambda path: path.parts):
        yield from module_entries((root / path).read_bytes(), module_name(path))


def is_question(entry: Entry) -> bool:
    """Tell whether an entry's first sentence can be searched for and its body be recognised."""
    long_enough = len(entry.body.split()) >= MIN_BODY_WORDS
    return long_enough and len(entry.summary.split()) >= MIN_QUERY_WORDS


def rows(entries: Iterable[Entry]) -> Iterator[Row]:
    """Turn entries into rows: questions with their answers, and the rest to search among."""
    entries = tuple(entries)
    # A sentence that introduces several documents has no single right answer.
    times = Counter(entry.summary.casefold() for entry in entries)
    for entry in entries:
        if is_question(entry) and times[entry.summary.casefold()] == 1:
            yield Row(f"{entry.heading}\n{entry.body}", entry.module, entry.summary)
        else:
            text = one_line(f"{entry.summary} {entry.body}")
            yield Row(f"{entry.heading}\n{text}", entry.module)


def main() -> None:
    """Write the corpus of this Python's standard library as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path, help="file to write, for example data.jsonl")
    output: Path = parser.parse_args().output
    made = list(rows(library_entries(Path(sysconfig.get_path("stdlib")))))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("".join(f"{row.json()}\n" for row in made), encoding="utf-8")
    questions = sum(row.query is not None for row in made)
    version = sys.version.split(maxsplit=1)[0]
    print(f"{output}: {len(made)} documents, {questions} queries, from Python {version}")


if __name__ == "__main__":
    main()
