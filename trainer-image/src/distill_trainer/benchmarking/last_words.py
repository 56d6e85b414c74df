"""Why a server stopped: the line of its log that says so."""

import re
from collections.abc import Sequence
from typing import Final

LAST_CHARACTERS: Final = 600
"""Of a log in a sentence."""
_OURS: Final = re.compile(r"^[A-Z]+ [\w.]+: ")
"""Level and logger before a line of our server's log."""
_VLLMS: Final = re.compile(
    r"^(?:\([\w ]+?(?: pid=\d+)?\) ?)?(?:[A-Z]+ \d\d-\d\d \d\d:\d\d:\d\d \[[^\]]*\] ?)?"
)
"""Process, level, time and place before a line of vLLM's log."""
_ERROR: Final = re.compile(r"^(?:[A-Za-z_][\w.]*)?(?:Error|Exception)\b|^vllm.*: error: ")
"""The line below a traceback, and what argparse says."""
_ECHO: Final = re.compile(r"Engine core initialization failed|for the root cause")
"""What one process says of another's failure."""
_LIST: Final = re.compile(r"validation errors? for \w+$")
"""How pydantic announces what is wrong."""


def of_ours(lines: Sequence[str]) -> str:
    """Return the last line of our server's log."""
    return _OURS.sub("", lines[-1])[-LAST_CHARACTERS:] if lines else "it said nothing"


def of_vllm(lines: Sequence[str]) -> str:
    """Return the line of vLLM's log that names the error.

    The process that has it writes a traceback; those that depend on it write others below, which
    only say that it failed.
    """
    plain = [_VLLMS.sub("", line).strip() for line in lines]
    named = [place for place, line in enumerate(plain) if _ERROR.match(line)]
    causes = [place for place in named if not _ECHO.search(plain[place])]
    place = next(reversed(causes or named), None)
    if place is None:
        return of_ours([line for line in plain if line])
    # A list of faults begins below the line that announces it.
    count = 2 if _LIST.search(plain[place]) else 1
    return " ".join(plain[place : place + count])[:LAST_CHARACTERS]
