"""The log: one JSON object a line, on standard output."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
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


def _dumps(event: object, **_options: object) -> str:
    return orjson.dumps(event, default=str).decode()
