"""A fair gate: so many at once, first come first served.

A connection pool is not fair: whoever gives a connection back and asks again at once gets it again, and under load
others wait until they give up. Here a place is handed to who has waited longest.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from chatapi.errors import DatabaseUnavailable, Overloaded


class Gate:
    """Lets `places` threads or greenlets in at once and `most_waiting` wait; urgent ones go first, and always may."""

    def __init__(self, places: int, most_waiting: int) -> None:
        self._free = places
        self._most_waiting = most_waiting
        self._urgent: deque[threading.Lock] = deque()
        self._waiting: deque[threading.Lock] = deque()
        self._moving = threading.Lock()

    @contextmanager
    def entered(self, wait_s: float, *, urgent: bool = False) -> Iterator[None]:
        """Be inside while the block runs.

        Raises:
            DatabaseUnavailable: no place was to be had within `wait_s` seconds.
            Overloaded: too many are waiting already.
        """
        self._enter(wait_s, self._urgent if urgent else self._waiting)
        try:
            yield
        finally:
            self._leave()

    def _enter(self, wait_s: float, line: deque[threading.Lock]) -> None:
        with self._moving:
            if self._free:
                self._free -= 1
                return
            if line is self._waiting and len(line) >= self._most_waiting:
                raise Overloaded("Too many calls at once. Please try again.")
            turn = threading.Lock()
            turn.acquire()
            line.append(turn)
        try:
            come = turn.acquire(timeout=wait_s)
        except BaseException:  # a greenlet may be ended while it waits
            self._give_up(turn, line)
            raise
        if not come:
            self._give_up(turn, line)
            raise DatabaseUnavailable

    def _give_up(self, turn: threading.Lock, line: deque[threading.Lock]) -> None:
        with self._moving:
            waits = turn in line
            if waits:
                line.remove(turn)
        if not waits:  # the turn has come this very moment, and must not be lost
            self._leave()

    def _leave(self) -> None:
        with self._moving:
            line = self._urgent or self._waiting
            if line:
                line.popleft().release()
            else:
                self._free += 1
