"""One connection to an upstream, for gevent: bytes out and in, with patience, and an end that anybody can make."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterable
from typing import Any

import httpx2
from gevent import get_hub, monkey, sleep

from chatapi.upstream.overseer import overseer
from chatapi.upstream.patience import Patience

READ_BYTES = 65_536  # at most; a read takes what is there
READABLE = 1  # to poll and to libev
BYTES_ACKED_AT = 120  # of Linux' struct tcp_info, tcpi_bytes_acked, 64 bits
TCP_INFO_BYTES = 128

_real_poll: Any = monkey.get_original("select", "poll")
_real_socket: Any = monkey.get_original("socket", "socket")


class NothingSent(Exception):
    """The request has not reached the upstream, not even a part of it: it may be sent again on another connection."""


class Connection:
    """A connected socket. Its reads wait as long as `patience` allows; whoever sends a request sets it first."""

    __slots__ = (
        "_aborted",
        "_acked_before",
        "_expired",
        "_is_tls",
        "_poll",
        "_socket",
        "_used",
        "_watcher",
        "idle_until",
        "patience",
    )

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._watcher = get_hub().loop.io(connected.fileno(), READABLE)
        self._is_tls = isinstance(connected, ssl.SSLSocket)
        self._expired = False
        self._used = False
        self._acked_before: int | None = None
        self._aborted = False
        self.idle_until = 0.0
        self.patience = Patience(0.0, 0.0)

    def is_quiet(self) -> bool:
        """Whether the upstream has said nothing since its last answer. One that has closed the connection has."""
        poll = _real_poll()
        poll.register(self._socket.fileno(), READABLE)
        return not poll.poll(0)

    def send(self, request: bytes, timeout_s: float | None) -> None:
        """Send a whole request, waiting at most `timeout_s` where the upstream does not take it.

        An upstream that stops reading may still answer, and says why; so what fails later than the first bytes is left
        to the read that follows.

        Raises:
            NothingSent: not even the beginning could be sent.
            httpx2.WriteTimeout: the upstream did not take it in time.
        """
        sock = self._socket
        self._acked_before = self._acked() if self._used else None
        sock.settimeout(timeout_s)
        try:
            sent = sock.send(request)
        except (OSError, ValueError) as error:
            raise NothingSent from error
        if sent < len(request):
            try:
                sock.sendall(memoryview(request)[sent:])
            except TimeoutError as error:
                raise httpx2.WriteTimeout(str(error)) from error
            except (OSError, ValueError):
                pass

    def send_more(self, pieces: Iterable[bytes]) -> None:
        """Send what follows the beginning of a request, waiting as `send` does; an upstream that stops reading may have
        answered, as there.

        Raises:
            httpx2.WriteTimeout: the upstream did not take it in time.
        """
        try:
            for piece in pieces:
                self._socket.sendall(piece)
                sleep(0)  # the others' turn: an upstream that takes everything at once would let nobody else have one
        except TimeoutError as error:
            raise httpx2.WriteTimeout(str(error)) from error
        except (OSError, ValueError):
            pass

    def read(self) -> bytes:
        """What has come, or b"" at the end.

        Nothing has come yet, as a rule, so what is not encrypted is waited for before it is asked for.

        Raises:
            httpx2.ReadTimeout: the patience is over.
            httpx2.ReadError: the connection broke.
        """
        sock = self._socket
        must_wait = not self._is_tls
        try:
            sock.settimeout(0.0)
            while True:
                if must_wait:
                    overseer.wait(self._watcher, self.patience.next_timeout_s(), self._expire)
                try:
                    data = sock.recv(READ_BYTES)
                except (BlockingIOError, ssl.SSLWantReadError):
                    must_wait = True
                    continue
                if self._expired:
                    raise httpx2.ReadTimeout("the upstream was silent for too long")
                return data
        except (OSError, ValueError) as error:  # ValueError: a TLS connection that was shut down under its reader
            kind = httpx2.ReadTimeout if self._expired else httpx2.ReadError
            raise kind(str(error)) from error

    def missed_the_request(self) -> bool:
        """Whether the end that was just read was made before the request came.

        Then not one byte of it was acknowledged: the end itself would have acknowledged what had come before. Only a
        connection that was used before is asked; where the kernel does not tell, the answer is no. It is no as well
        where the end was made here: then an acknowledgement may just not have come yet.
        """
        return not self._aborted and self._acked_before is not None and self._acked() == self._acked_before

    def rest(self, *, until: float) -> None:
        """The answer is over; another request may use this connection until then, by the monotonic clock."""
        self._used = True
        self.idle_until = until

    def abort(self) -> None:
        """End a read that blocks in another greenlet. The connection is of no use afterwards."""
        self._aborted = True
        # By the system's own call: gevent's would raise its own error in the reader, and TLS would lose its state.
        with contextlib.suppress(OSError, ValueError):
            plain = _real_socket(fileno=self._socket.fileno())
            try:
                plain.shutdown(socket.SHUT_RDWR)
            finally:
                plain.detach()

    def close(self) -> None:
        """Close it."""
        self._watcher.close()
        with contextlib.suppress(OSError):
            self._socket.close()

    def _expire(self) -> None:
        self._expired = True
        self.abort()

    def _acked(self) -> int | None:
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
            return int(struct.unpack_from("Q", info, BYTES_ACKED_AT)[0])
        except (AttributeError, OSError, struct.error):  # no Linux, or an old one
            return None
