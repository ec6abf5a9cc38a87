"""A client's connection as gunicorn's worker has it: one that does not wait for ever, tells when its client leaves, and
parts politely."""

from __future__ import annotations

import errno
import fcntl
import math
import socket
import ssl
import struct
import sys
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gunicorn.http import errors as refusals

from chatapi.errors import InvalidRequest

HEAD_S = 10.0  # from the first byte of a request to the end of its headers
BODY_S = 20.0  # for a body, and more by its size:
LEAST_RATE = 4096  # bytes a second, over the whole body
PARTING_S = 2.0
MOST_PARTING_BYTES = 8 * 1024 * 1024


def notice_vanishing(listener: Any, timeout_s: float) -> None:
    """Have the kernel give up on clients that vanish without a word, after about `timeout_s` seconds.

    What the listening socket is told holds for the connections that it accepts. Unix sockets need none of this.
    """
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        return
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    wanted = {
        "TCP_KEEPIDLE": math.ceil(timeout_s / 3),
        "TCP_KEEPINTVL": math.ceil(timeout_s / 6),
        "TCP_KEEPCNT": 4,
        "TCP_USER_TIMEOUT": math.ceil(timeout_s * 1000),
    }
    for name, value in wanted.items():
        if hasattr(socket, name):  # not everywhere is Linux
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _untaken(client: Any) -> int:
    """The bytes of what was sent that the client's machine has not acknowledged yet."""
    return int.from_bytes(fcntl.ioctl(client.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)


class Connection:
    """A socket whose `recv` knows how far a request has come, and when it should have been there, and whose `sendall`
    gives up when the client takes nothing for `send_timeout_s` seconds.

    Waiting for a request to begin is bounded elsewhere, by gunicorn's `keepalive`. Everything else goes straight to the
    socket.

    While a request is being served, its client can be watched (gevent only): the hub looks at the socket when there is
    something to read, be it the end. A client that only stopped sending (shutdown(SHUT_WR)) looks the same as one that
    left. Once more is sent, such as a pipelined request, the end behind it cannot be seen, and nobody looks any longer.
    """

    def __init__(self, client: Any, send_timeout_s: float = 30.0) -> None:
        self.socket = client
        self.send = client.send
        self._send_timeout_s = send_timeout_s
        self._bare = None if isinstance(client, ssl.SSLSocket) else getattr(client, "_sock", None)  # gevent's own
        self.beginning = b""
        """The first bytes of the request whose headers are being read, as far as they came at once."""
        self.unread = False
        """Whether the client may still be sending what nobody will read."""
        self.gone = False
        """Whether the client was seen to leave."""
        self._watcher: Any = None  # gevent's, made for the first request that is watched
        self._act: Callable[[], None] | None = None
        self._due: float | None = None  # by the monotonic clock; None until a request has begun
        self._rate = 0.0  # seconds that each byte adds

    def __getattr__(self, name: str) -> Any:
        return getattr(self.socket, name)

    def recv(self, size: int) -> bytes:
        """What has come, like a socket's.

        Raises:
            InvalidRequest: the client takes too long (408).
        """
        if self._due is None:
            self.beginning = received = self.socket.recv(size)
            self._due = time.monotonic() + HEAD_S
            return bytes(received)
        # What has come already is taken, however late: it may be this process that was late.
        self.socket.settimeout(max(0.0, self._due - time.monotonic()))
        try:
            received = self.socket.recv(size)
        except (TimeoutError, BlockingIOError):
            raise InvalidRequest("The request came too slowly", status=408) from None
        finally:
            self.socket.settimeout(None)
        self._due += len(received) * self._rate
        return bytes(received)

    def sendall(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            ConnectionResetError: the client took nothing for too long, and is hung up on without further words.
        """
        sent = 0
        if self._bare is not None:  # most pieces fit: no wait, no words with gevent
            with suppress(BlockingIOError):
                sent = self._bare.send(data)
        if sent < len(data):
            self._send_as_it_takes(memoryview(data)[sent:])

    def _send_as_it_takes(self, rest: memoryview) -> None:
        """Wait as long as the client takes anything: the kernel asks for more only when much of what it has is gone."""
        self.socket.settimeout(self._send_timeout_s)
        try:
            while rest:
                untaken = _untaken(self.socket)
                try:
                    rest = rest[self.socket.send(rest) :]
                except TimeoutError:
                    if _untaken(self.socket) >= untaken:
                        raise self._cut() from None
        finally:
            self.socket.settimeout(None)

    def _cut(self) -> ConnectionResetError:
        self.unread = False
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # what is left is lost
        return ConnectionResetError(errno.ECONNRESET, "the client reads too slowly")

    def watch(self) -> None:
        """Look out for the client's end from now on. Its request must have been read to its end."""
        if self._watcher is None:
            from gevent import get_hub

            self._watcher = get_hub().loop.io(self.socket.fileno(), 1)  # 1: readable
        self._watcher.start(self._look)

    def on_leave(self, act: Callable[[], None]) -> None:
        """Have `act` called once, in a greenlet of its own, when the client leaves; at once if it has."""
        self._act = act
        if self.gone:
            self._leave()

    def unwatch(self) -> None:
        """The request has been served."""
        self._act = None
        if self._watcher is not None:
            self._watcher.stop()

    def _look(self) -> None:
        """Called in the hub, where nothing may block."""
        try:
            received = self.socket._sock.recv(1, socket.MSG_PEEK)  # never waits, as gevent's own would
        except BlockingIOError:
            return
        except OSError:
            received = b""
        self._watcher.stop()
        if not received:
            self.gone = True
            self._leave()

    def _leave(self) -> None:
        from gevent import spawn

        act, self._act = self._act, None
        if act is not None:
            spawn(act)

    def begin_body(self) -> None:
        """The headers are there; from now on the body is read."""
        self.beginning = b""
        self._due, self._rate = time.monotonic() + BODY_S, 1 / LEAST_RATE

    def finish_body(self, body: Any) -> bool:
        """Skip what the service did not read of the body; whether that is done, so that another request may come."""
        self._due, self._rate = time.monotonic() + PARTING_S, 0.0
        skipped = 0
        try:
            while skipped < MOST_PARTING_BYTES and not body.failed:
                piece = body.read(65_536)
                if not piece:
                    self._due = None
                    return True
                skipped += len(piece)
        except (InvalidRequest, OSError):  # too slow, not well formed, gone
            pass
        self.unread = True
        return False

    def close(self) -> None:
        """Hang up. A client that is still sending is let finish for a moment: else it might never see the reply."""
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None
        if self.unread:
            with suppress(OSError):
                self._part()
        self.socket.close()

    def _part(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)
        give_up_at, skipped = time.monotonic() + PARTING_S, 0
        while skipped < MOST_PARTING_BYTES and (patience_s := give_up_at - time.monotonic()) > 0:
            self.socket.settimeout(patience_s)
            received = len(self.socket.recv(65_536))
            if not received:
                return
            skipped += received


class Chunks:
    """gunicorn's reader of a chunked body, whose complaints are the client's to hear."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def read(self, size: int) -> bytes:
        """The next bytes.

        Raises:
            InvalidRequest: this is not how chunks are written.
        """
        try:
            return bytes(self._reader.read(size))
        except refusals.ParseException:
            raise InvalidRequest("The body's chunks are not well formed (Transfer-Encoding: chunked)") from None
