"""Connections that wait for their next request, for gevent."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping

from chatapi.upstream.connection import Connection
from chatapi.upstream.keep_alive import Resting, lasts_s, rest_s


class IdleConnections:
    """What is used most recently is used next, so that the others can expire; some rest before."""

    def __init__(self) -> None:
        self._ready: deque[Connection] = deque()
        self._resting = Resting[Connection]()

    def __len__(self) -> int:
        return len(self._ready) + len(self._resting)

    def put(self, connection: Connection, headers: Mapping[str, str]) -> None:
        """Keep a connection that is good for another request.

        Args:
            connection: whose answer is over.
            headers: of that answer, their names in lower case.
        """
        now = time.monotonic()
        connection.rest(until=now + lasts_s(headers))
        if pause_s := rest_s(headers):
            self._resting.put(connection, now + pause_s)
        else:
            self._ready.append(connection)
        self._ready.extend(self._resting.woken(now))
        while self._ready and self._ready[0].idle_until < now:
            self._ready.popleft().close()

    def take(self) -> Connection | None:
        """One that the upstream has not closed, if there is one."""
        now = time.monotonic()
        self._ready.extend(self._resting.woken(now))
        while self._ready:
            connection = self._ready.pop()
            if connection.idle_until > now and connection.is_quiet():
                return connection
            connection.close()
        return None

    def close(self) -> None:
        """Close all of them."""
        self._ready.extend(self._resting.woken(math.inf))
        while self._ready:
            self._ready.pop().close()
