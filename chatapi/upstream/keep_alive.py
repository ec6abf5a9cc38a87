"""How long a connection is good for between two requests, by what the answer before says.

A request that crosses with the connection's end is one whose fate nobody knows; so the end is kept clear of.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

KEEPALIVE_EXPIRY_S = 30.0
MARGIN_S = 1.0  # so much sooner than the upstream's own limit
REST_S = 0.1
"""Some servers close a connection after a stream without having said so; llama.cpp's does, some microseconds later."""

T = TypeVar("T")

_timeout = re.compile(r"\btimeout\s*=\s*(\d{1,9})", re.ASCII | re.IGNORECASE).search


def rest_s(headers: Mapping[str, str]) -> float:
    """How long it is left alone first, in seconds: an upstream that ends it after such an answer has done so by then.

    That is one which had not said its length, nor that the connection ends with it.
    """
    says_neither = "transfer-encoding" in headers and "close" not in headers.get("connection", "").lower()
    return REST_S if says_neither else 0.0


def lasts_s(headers: Mapping[str, str]) -> float:
    """How long it is kept, in seconds: shorter than the upstream keeps it, where that is said (`Keep-Alive`)."""
    said = _timeout(headers.get("keep-alive", ""))
    return KEEPALIVE_EXPIRY_S if said is None else min(KEEPALIVE_EXPIRY_S, int(said[1]) - MARGIN_S)


class Resting(Generic[T]):
    """What is left alone for a while, in the order in which it came. Safe for any number of threads."""

    def __init__(self) -> None:
        self._due: deque[tuple[float, T]] = deque()

    def __len__(self) -> int:
        return len(self._due)

    def put(self, resting: T, until: float) -> None:
        """Leave it alone until then, by whatever clock; nothing that comes later is due much earlier."""
        self._due.append((until, resting))

    def woken(self, now: float) -> Iterator[T]:
        """What has rested; each is given once."""
        while self._due:
            try:
                until, resting = self._due.popleft()
            except IndexError:  # another thread was quicker
                return
            if until > now:
                self._due.appendleft((until, resting))
                return
            yield resting
