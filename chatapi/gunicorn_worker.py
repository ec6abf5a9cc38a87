"""gunicorn's gevent worker, with four things of our own.

When told to stop it does not wait for connections that nobody is using; gunicorn itself waits for every keep-alive
connection, busy or idle, until `graceful_timeout`. When it is to be replaced (SIGHUP), it serves on until a successor
does, and lets its calls take their time. It gives up on clients that send too slowly. And what is no HTTP is
refused in our dialects, without a word of it in the log.
"""

from __future__ import annotations

import mmap
import socket
import time
from contextlib import suppress
from typing import Any

from gunicorn.http import message
from gunicorn.http.body import ChunkedReader
from gunicorn.workers.ggevent import GeventWorker

from chatapi.endpoint.connections import PARTING_S, Chunks, Connection

SURELY_IDLE_S = 1.0


class Generations:
    """What the master and all its workers know in common: a few numbers in memory that forks share."""

    def __init__(self) -> None:
        self._shared = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")

    @property
    def latest(self) -> int:
        """The generation of workers that is being started, or has been."""
        return self._shared[0]

    @property
    def serving(self) -> int:
        """The latest generation of which a worker has served; none is 0."""
        return self._shared[1]

    @property
    def ending(self) -> bool:
        """Whether the master ends, and all workers with it."""
        return bool(self._shared[2])

    def begin(self) -> None:
        """The master begins another generation."""
        self._shared[0] += 1

    def serve(self, generation: int) -> None:
        """A worker of this generation serves."""
        self._shared[1] = max(self._shared[1], generation)

    def end(self) -> None:
        """The master ends."""
        self._shared[2] = 1


generations = Generations()
generations.begin()


class Worker(GeventWorker):  # type: ignore[misc]
    """Knows which of its connections are between two requests."""

    send_timeout_s = 30.0
    """How long a client may take nothing; the configuration's hook sets it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        message.MAX_REQUEST_LINE = self.cfg.limit_request_line  # gunicorn's setting goes no further than this constant
        self._idle: dict[socket.socket, float] = {}  # and since when, by the monotonic clock
        self.generation = generations.latest
        self.is_replaced = False
        """Whether others of a later generation take over: it ends once they serve."""

    def handle_exit(self, sig: Any, frame: Any) -> None:
        """SIGTERM. The master repeats it every second to workers of an earlier generation."""
        if generations.latest > self.generation and not generations.ending:
            self.is_replaced = True
        else:
            super().handle_exit(sig, frame)

    def give_way(self, patience_s: float) -> None:
        """Accept no more connections; those that there are may take `patience_s` seconds."""
        self.cfg.set("graceful_timeout", int(patience_s))
        self.alive = False

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:
        """Serve a connection."""
        self._idle[client] = time.monotonic()
        try:
            super().handle(listener, Connection(client, self.send_timeout_s), addr)
        finally:
            self._idle.pop(client, None)

    def handle_request(self, listener_name: Any, req: Any, sock: Connection, addr: Any) -> None:
        """Serve one request of a connection; the last one, when the worker has been told to stop."""
        self._idle.pop(sock.socket, None)
        if isinstance(req.body.reader, ChunkedReader):
            req.body.reader = Chunks(req.body.reader)
        sock.begin_body()
        try:
            self._serve(listener_name, req, sock, addr)
        except StopIteration:
            sock.finish_body(req.body)
            raise
        if not sock.finish_body(req.body) or not self.alive:
            raise StopIteration  # gunicorn's own way to say: close this connection
        self._idle[sock.socket] = time.monotonic()

    def _serve(self, listener_name: Any, req: Any, sock: Connection, addr: Any) -> None:
        try:
            super().handle_request(listener_name, req, sock, addr)
        finally:
            sock.unwatch()

    def handle_error(self, req: Any, client: Connection, addr: Any, exc: BaseException) -> None:
        """Refuse what is no HTTP, or say that serving it failed. gunicorn would log and echo what the client sent."""
        if not isinstance(exc, Exception):  # the worker is ending
            return
        from chatapi.endpoint.refusals import refusal  # Flask, which gunicorn's master must not load

        client.unread = True
        beginning = client.beginning or f"- {getattr(req, 'path', None) or ''} ".encode()
        address = str(addr[0]) if isinstance(addr, tuple) else ""
        with suppress(OSError):
            client.settimeout(PARTING_S)
            client.sendall(refusal(exc, beginning, address))

    def hang_up_idle(self) -> None:
        """Close the connections on which no request is running or has begun to arrive.

        Not at once: on a new one its request is under way, and in a lively one the next may be. That is served, and the
        reply says that the connection ends.
        """
        now = time.monotonic()
        for connection in [connection for connection, since in self._idle.items() if now - since >= SURELY_IDLE_S]:
            with suppress(OSError):
                try:
                    connection._sock.recv(1, socket.MSG_PEEK)  # type: ignore[attr-defined]  # as gevent has it: never waits
                except BlockingIOError:
                    with connection.dup() as twin:  # so that whoever waits reads an end, rather than gevent's own error
                        twin.shutdown(socket.SHUT_RDWR)
