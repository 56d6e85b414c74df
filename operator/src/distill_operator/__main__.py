"""Starts the operator: `python -m distill_operator`."""

import asyncio
import logging
import os
import sys

from distill_api.names import Exit

from distill_operator import errors, settings
from distill_operator.effects import logs
from distill_operator.handlers import app


def main() -> int:
    """Run until stopped; return the exit status."""
    try:
        found = settings.read(os.environ)
    except errors.BadSettings as error:
        logs.start("INFO")
        logging.getLogger(__name__).error(str(error))  # noqa: TRY400 - the sentence is enough
        return Exit.GIVE_UP
    logs.start(found.log_level)
    try:
        asyncio.run(app.run(found))
    except errors.DistillationError as error:
        logging.getLogger(__name__).error(str(error))  # noqa: TRY400 - the sentence is enough
        return Exit.TRY_AGAIN
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main())
