"""Texts that say the same but for their marks: near duplicates, which must not part over splits."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

WORDS: Final = re.compile(r"\w+")


def loose(text: str) -> str:
    """Return a text's words alone, in compatible characters (NFKC) and without case.

    A text without any word stays what it is, or all of them would be one.
    """
    compatible = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(WORDS.findall(compatible)) or " ".join(compatible.split())


def repeats(pairs: Iterable[tuple[str, str]]) -> int:
    """Count the pairs whose query and document say the same as an earlier pair's."""
    listed = [(loose(query), loose(document)) for query, document in pairs]
    return len(listed) - len(set(listed))
