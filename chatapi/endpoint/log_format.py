"""The log: one JSON object a line, on standard output."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import TextIO, cast

import orjson
import structlog


def configure() -> None:
    """Write structlog's events and the libraries' warnings as JSON lines."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_dumps),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Output())),
        cache_logger_on_first_use=False,
    )
    for name in ("httpx2", "httpcore2", "openai"):  # they log addresses at INFO, headers and bodies at DEBUG
        logging.getLogger(name).setLevel(logging.WARNING)


class _Output:
    """The standard output. Where it cannot be written (its disk is full, its reader gone), requests go on unlogged."""

    def write(self, text: str) -> None:
        """Write, if that is possible."""
        with suppress(OSError, ValueError):
            sys.stdout.write(text)

    def flush(self) -> None:
        """Flush, if that is possible."""
        with suppress(OSError, ValueError):
            sys.stdout.flush()


output = _Output()


def write_info(event: str, fields: dict[str, object]) -> None:
    """Write an event as structlog would, at less than half the cost: for the one line that every request writes.

    Args:
        event: its name.
        fields: in the order in which they shall stand; `event`, `level` and `timestamp` are added.
    """
    fields |= {"event": event, "level": "info", "timestamp": datetime.now(UTC)}
    line = orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z, default=str)
    output.write(line.decode())
    output.flush()


def _dumps(event: object, **_options: object) -> str:
    return orjson.dumps(event, default=str).decode()
