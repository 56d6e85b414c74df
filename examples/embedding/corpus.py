"""Make a retrieval corpus from the docstrings of Python's standard library.

Every machine that runs this project has one, its questions and answers are known without a judge,
and it is the same for one Python version: sources are parsed, never imported, in sorted order.

Each documented module, class and function is one document, as in an index of a manual: its
qualified name, the names of its parameters and the opening words of its docstring's body. The
docstring's first sentence, which describes it, is held out as the query that should find it.
"""

import argparse
import ast
import hashlib
import inspect
import json
import re
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
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
PASSAGE_WORDS = 24
"""Words of a docstring in a document: short passages, as retrieval likes them, and none is cut
off at 64 tokens by the tokenizer."""

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
    """Qualified name, for functions with the names of the parameters."""
    summary: str
    """The docstring's first sentence."""
    body: str
    """The docstring without its first sentence."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the data set; without a query it is only there to be searched among."""

    document: str
    group: str
    """Rows of one group stay in one split: see own_name."""
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
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return name
    arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    names = (a.arg for a in arguments if a.arg not in {"self", "cls"})
    return f"{name}({', '.join(names)})"


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


def own_name(heading: str) -> str:
    """Take the last part of a qualified name, `raw_decode` of `json.JSONDecoder.raw_decode(s)`.

    Definitions of one name are kept together over the splits, because where docstrings repeat one
    another, it is there: a method and its overrides, `decimal` and `_pydecimal`, a function and
    its asynchronous twin. A finer group would let a copy of a test document into training.
    """
    return heading.partition("(")[0].rpartition(".")[2].casefold()


def rows(entries: Iterable[Entry]) -> Iterator[Row]:
    """Turn entries into rows: questions with their answers, and the rest to search among."""
    entries = tuple(entries)
    # A sentence that introduces several documents has no single right answer.
    times = Counter(entry.summary.casefold() for entry in entries)
    for entry in entries:
        asked = times[entry.summary.casefold()] == 1
        asked = asked and len(entry.summary.split()) >= MIN_QUERY_WORDS
        text = entry.body if asked else f"{entry.summary} {entry.body}"
        passage = " ".join(text.split()[:PASSAGE_WORDS])
        document = f"{entry.heading}\n{passage}".strip()
        yield Row(document, own_name(entry.heading), entry.summary if asked else None)


@cache
def of_this_python() -> tuple[Row, ...]:
    """Make the corpus of this Python's standard library; seconds the first time, then nothing."""
    return tuple(rows(library_entries(Path(sysconfig.get_path("stdlib")))))


def held_out(made: Iterable[Row], share: float = 0.1) -> tuple[list[Row], list[Row]]:
    """Part the rows into those to learn from and those to probe with, which no student has seen.

    By the digest of each row's group, so that copies of one text stay on one side, and another
    Python version moves no group.
    share: part of the groups that is held out, 0 to 1.
    """
    learnt: list[Row] = []
    probes: list[Row] = []
    for row in made:
        digest = hashlib.sha256(row.group.encode()).digest()
        probed = int.from_bytes(digest[:4]) < share * 2**32
        (probes if probed else learnt).append(row)
    return learnt, probes


def write(made: Iterable[Row], output: Path) -> None:
    """Write rows as JSON lines; makes the folder where it is missing."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("".join(f"{row.json()}\n" for row in made), encoding="utf-8")


def main() -> None:
    """Write the corpus to the file that was named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path, help="file to write, for example data.jsonl")
    output: Path = parser.parse_args().output
    made = of_this_python()
    write(made, output)
    questions = sum(row.query is not None for row in made)
    version = sys.version.split(maxsplit=1)[0]
    print(f"{output}: {len(made)} documents, {questions} queries, from Python {version}")


if __name__ == "__main__":
    main()
