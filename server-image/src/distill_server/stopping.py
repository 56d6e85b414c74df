"""SIGTERM before there is anything to drain, and how bad settings are told."""

import logging
import os
import signal
import sys
from types import FrameType
from typing import Final

from distill_api.names import Exit
from pydantic import ValidationError

BY_SIGTERM: Final = 128 + signal.SIGTERM

log = logging.getLogger("distill_server")


def at_once() -> None:
    """Let SIGTERM and SIGINT end the process until a server has its own handlers.

    The kernel gives process 1 of a container no default action: without a handler it would go on
    loading its model until it is killed at the end of the grace period.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def _end(number: int, _frame: FrameType | None) -> None:
    sys.stderr.write(f"told to stop by signal {number} before anything was served\n")
    sys.stderr.flush()
    # No exception: libraries that are being imported may catch it.
    os._exit(128 + number)


def give_up(sentence: str) -> int:
    """Say why, as the last line of the log, where Kubernetes shows it; returns the exit status."""
    log.error("%s", sentence)
    return Exit.GIVE_UP


def wrong_settings(error: ValidationError) -> int:
    """Give up with what is wrong with the settings, in one line."""
    return give_up(
        "; ".join(
            f"{'.'.join(map(str, found['loc'])) or 'settings'}: {found['msg']}"
            for found in error.errors(include_url=False)
        )
    )
