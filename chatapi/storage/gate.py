"""A fair gate: so many at once, first come first served.

A connection pool is not fair: whoever gives a connection back and asks again at once gets it again, and under load
others wait until they give up. Here a place is handed to who has waited longest.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from chatapi.errors import DatabaseUnavailable


class Gate:
    """Lets `places` threads or greenlets in at once."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: deque[threading.Lock] = deque()
        self._moving = threading.Lock()

    @contextmanager
    def entered(self, wait_s: float) -> Iterator[None]:
        """Be inside while the block runs.

        Raises:
            DatabaseUnavailable: no place was to be had within `wait_s` seconds.
        """
        self._enter(wait_s)
        try:
            yield
        finally:
            self._leave()

    def _enter(self, wait_s: float) -> None:
        with self._moving:
            if self._free:
                self._free -= 1
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        try:
            come = turn.acquire(timeout=wait_s)
        except BaseException:  # a greenlet may be ended while it waits
            self._give_up(turn)
            raise
        if not come:
            self._give_up(turn)
            raise DatabaseUnavailable

    def _give_up(self, turn: threading.Lock) -> None:
        with self._moving:
            waits = turn in self._waiting
            if waits:
                self._waiting.remove(turn)
        if not waits:  # the turn has come this very moment, and must not be lost
            self._leave()

    def _leave(self) -> None:
        with self._moving:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1
