"""A client's connection as gunicorn's worker reads it: one that does not wait for ever, and parts politely."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Any

from gunicorn.http import errors as refusals

from chatapi.errors import InvalidRequest

HEAD_S = 10.0  # from the first byte of a request to the end of its headers
BODY_S = 20.0  # for a body, and more by its size:
LEAST_RATE = 4096  # bytes a second, over the whole body
PARTING_S = 2.0
MOST_PARTING_BYTES = 8 * 1024 * 1024


class Connection:
    """A socket whose `recv` knows how far a request has come, and when it should have been there.

    Waiting for a request to begin is bounded elsewhere, by gunicorn's `keepalive`. Everything but reading goes straight
    to the socket.
    """

    def __init__(self, client: Any) -> None:
        self.socket = client
        self.sendall = client.sendall
        self.send = client.send
        self.beginning = b""
        """The first bytes of the request whose headers are being read, as far as they came at once."""
        self.unread = False
        """Whether the client may still be sending what nobody will read."""
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
