"""The log: one JSON object a line, on standard output."""

from __future__ import annotations

import logging
import sys

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
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
        cache_logger_on_first_use=False,
    )
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # at INFO it logs every upstream request's address


def _dumps(event: object, **_options: object) -> str:
    return orjson.dumps(event, default=str).decode()
