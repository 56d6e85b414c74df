"""Pages that are made from the planner's tables: their parts, and the command that writes them.

The only module here that touches a file: it is a tool beside the planner, and no part of a pass.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

REFERENCE: Final = Path(__file__).parents[4] / "docs" / "reference"


def fenced(lines: Iterable[str]) -> str:
    """Return a Mermaid diagram."""
    return "\n".join(["```mermaid", *lines, "```"])


def matrix(
    corner: str, columns: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]
) -> Iterator[str]:
    """Yield a table with a head for each row and column."""
    yield f"| {corner} | " + " | ".join(columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for head, cells in rows:
        yield f"| {head} | " + " | ".join(cells) + " |"


def main(page: Path, text: str, arguments: Sequence[str]) -> int:
    """Write the page, or with `--check` say whether the one that is there differs."""
    if "--check" not in arguments:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text)
        return 0
    if page.exists() and page.read_text() == text:
        return 0
    sys.stderr.write(f"{page.name} differs from the planner's tables: run `make generate`\n")
    return 1
