"""gunicorn's gevent worker, which when told to stop does not wait for connections that nobody is using.

gunicorn itself waits for every keep-alive connection, busy or idle, until `graceful_timeout`.
"""

from __future__ import annotations

import select
import socket
from contextlib import suppress
from typing import Any

from gunicorn.workers.ggevent import GeventWorker


class Worker(GeventWorker):  # type: ignore[misc]
    """Knows which of its connections are between two requests."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._idle: set[socket.socket] = set()

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:
        """Serve a connection."""
        self._idle.add(client)
        try:
            super().handle(listener, client, addr)
        finally:
            self._idle.discard(client)

    def handle_request(self, listener_name: Any, req: Any, sock: socket.socket, addr: Any) -> None:
        """Serve one request of a connection; the last one, when the worker has been told to stop."""
        self._idle.discard(sock)
        super().handle_request(listener_name, req, sock, addr)
        if not self.alive:
            raise StopIteration  # gunicorn's own way to say: close this connection
        self._idle.add(sock)

    def hang_up_idle(self) -> None:
        """Close the connections on which no request is running or has begun to arrive."""
        for connection in tuple(self._idle):
            with suppress(OSError, ValueError):
                if not select.select([connection], [], [], 0)[0]:
                    with connection.dup() as twin:  # so that whoever waits reads an end, rather than gevent's own error
                        twin.shutdown(socket.SHUT_RDWR)
