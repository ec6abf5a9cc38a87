"""How long a connection is good for between two requests, by what the answer before says.

A request that crosses with the connection's end is one whose fate nobody knows; so the end is kept clear of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

KEEPALIVE_EXPIRY_S = 30.0
MARGIN_S = 1.0  # so much sooner than the upstream's own limit
REST_S = 0.1
"""Some servers close a connection after a stream without having said so; llama.cpp's does, some microseconds later."""

_timeout = re.compile(r"\btimeout\s*=\s*(\d{1,9})", re.ASCII | re.IGNORECASE).search


def rest_s(headers: Mapping[str, str]) -> float:
    """How long it is left alone first, in seconds: an upstream that ends it after its answers has done so by then."""
    return 0.0 if "content-length" in headers else REST_S


def lasts_s(headers: Mapping[str, str]) -> float:
    """How long it is kept, in seconds: shorter than the upstream keeps it, where that is said (`Keep-Alive`)."""
    said = _timeout(headers.get("keep-alive", ""))
    return KEEPALIVE_EXPIRY_S if said is None else min(KEEPALIVE_EXPIRY_S, int(said[1]) - MARGIN_S)
