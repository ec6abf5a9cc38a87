"""Waiting for sockets under gevent, and the end of waits that last too long.

A timer for each wait would cost more than all else in it; so one greenlet looks after all of them, every 50 ms.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent

TICK_S = 0.05


class Overseer:
    """Looks after all waits of this process."""

    def __init__(self) -> None:
        self._waits: dict[Any, tuple[float, Callable[[], None]]] = {}
        self._looking = False

    def wait(self, watcher: Any, timeout_s: float, expire: Callable[[], None]) -> None:
        """Wait until the watcher's event has come. After `timeout_s`, a tick later at most, `expire` is called, which
        makes it come and must not block."""
        self._waits[watcher] = (time.monotonic() + timeout_s, expire)
        if not self._looking:
            self._looking = True
            gevent.spawn(self._look)
        try:
            gevent.get_hub().wait(watcher)
        finally:
            self._waits.pop(watcher, None)

    def _look(self) -> None:
        while self._waits:
            gevent.sleep(TICK_S)
            now = time.monotonic()
            for watcher, (due_at, expire) in tuple(self._waits.items()):
                if due_at <= now:
                    self._waits.pop(watcher, None)
                    expire()
        self._looking = False


overseer = Overseer()
