"""Starts the operator: `python -m distill_operator`."""

import asyncio
import logging
import os
import sys

from distill_api.names import Exit

from distill_operator import errors, settings
from distill_operator.effects import logs


def main() -> int:
    """Run until stopped; return the exit status."""
    try:
        found = settings.read(os.environ)
    except errors.BadSettings as error:
        logs.start("INFO")
        logging.getLogger(__name__).error(str(error))  # noqa: TRY400 - the sentence is enough
        return Exit.GIVE_UP
    logs.start(found.log_level)
    return _run(found)


def _run(found: settings.Settings) -> int:
    # Where the official client is installed beside us, kopf imports its hundreds of models, to
    # recognise objects that we never pass: five seconds of processor time and 60 MB.
    sys.modules.setdefault("kubernetes", None)  # type: ignore[arg-type]
    from distill_operator.handlers import app

    try:
        asyncio.run(app.run(found))
    except errors.DistillationError as error:
        logging.getLogger(__name__).error(str(error))  # noqa: TRY400 - the sentence is enough
        return Exit.TRY_AGAIN
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main())
