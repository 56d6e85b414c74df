"""Logs as one JSON object per line, with what each line is about as fields of their own."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

QUIET = {"kopf": logging.WARNING, "asyncio": logging.INFO, "aiohttp.access": logging.WARNING}
"""Loggers of libraries, and the least that is worth a line."""


class JsonFormatter(logging.Formatter):
    """Renders a record with time, level, message, logger and the fields of `extra={"about": …}`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
            **getattr(record, "about", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def start(level: str) -> None:
    """Log to the standard error from now on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name, least in QUIET.items():
        logging.getLogger(name).setLevel(max(least, logging.getLevelNamesMapping()[level]))
