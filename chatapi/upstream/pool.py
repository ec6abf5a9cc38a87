"""The connections to one upstream under gevent, kept alive between calls, and the answers that come over them.

geventhttpclient's parser (llhttp, in C) reads the answers. Errors are httpx2's, and say whether a request was sent:
what fails before that is a `ConnectError`, `ConnectTimeout`, `ProxyError` or `PoolTimeout`.
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx2
from gevent.lock import Semaphore
from geventhttpclient._parser import HTTPParseError, HTTPResponseParser

from chatapi.upstream.connection import Connection, NothingSent
from chatapi.upstream.cutoff import Cutoff
from chatapi.upstream.dialling import Dialler
from chatapi.upstream.idle import IdleConnections
from chatapi.upstream.parcel import Pieces
from chatapi.upstream.patience import Patience

MOST_CALLS = 4000  # at once; as many as the worker takes from clients
LARGEST_HEAD_BYTES = 256 * 1024
FIRST_FINAL_STATUS = 200


class Pool:
    """Connections that one dialler opens."""

    def __init__(self, dialler: Dialler, timeout: httpx2.Timeout, *, most_calls: int = MOST_CALLS) -> None:
        self.dialler = dialler
        self._wait_s = timeout.pool
        self._write_timeout_s = timeout.write
        self._idle = IdleConnections()
        self._free = Semaphore(most_calls)

    def send(self, head: bytes, body: bytes | Pieces, patience: Patience, cutoff: Cutoff | None) -> Answer:
        """Send a request; return when the status and headers of its answer have come.

        Args:
            head: the request line and the header lines, each with its end.
            body: as its Content-Length says.
            patience: how long reads may block, also those of the body.
            cutoff: may cut the call off.

        Raises:
            httpx2.TransportError: see above.
        """
        if not self._free.acquire(timeout=self._wait_s):
            raise httpx2.PoolTimeout("too many calls are under way")
        try:
            head = head + self.dialler.headers + b"\r\n"
            if isinstance(body, bytes):
                return self._send(head + body, None, patience, cutoff)
            return self._send(head, body, patience, cutoff)
        except BaseException:
            self._free.release()
            raise

    def close(self) -> None:
        """Close the idle connections."""
        self._idle.close()

    def give_back(self, connection: Connection, headers: Mapping[str, str] | None) -> None:
        """An answer is over; unless `headers` (which were the answer's) is None, its connection is good for another."""
        self._free.release()
        if headers is None:
            connection.close()
        else:
            self._idle.put(connection, headers)

    def _send(self, request: bytes, more: Pieces | None, patience: Patience, cutoff: Cutoff | None) -> Answer:
        while True:
            connection = self._idle.take()
            is_new = connection is None
            if connection is None:
                connection = self.dialler.dial()
            connection.patience = patience
            if cutoff is not None:
                cutoff.bind(connection.abort)
            try:
                connection.send(request, self._write_timeout_s)
                if more is not None:
                    connection.send_more(more.read())
                answer = Answer(self, connection)
                answer.begin()
                return answer
            except NothingSent as error:
                connection.close()
                if is_new or (cutoff is not None and cutoff.is_cancelled()):
                    raise httpx2.ConnectError("the request could not be sent") from error
            except BaseException:
                connection.close()
                raise


class Answer(HTTPResponseParser):
    """An answer: its status, its headers (names in lower case), and its body as it comes."""

    __slots__ = (
        "_connection",
        "_has_more",
        "_is_complete",
        "_name",
        "_pieces",
        "_pool",
        "_value",
        "header_lines",
        "status",
    )

    def __init__(self, pool: Pool, connection: Connection) -> None:
        super().__init__()
        self.status = 0
        self.header_lines: list[tuple[str, str]] = []
        self._pool = pool
        self._connection: Connection | None = connection
        self._pieces: list[bytearray] = []
        self._name = self._value = ""
        self._is_complete = False
        self._has_more = False  # than the answer: the connection is of no use then

    @property
    def headers(self) -> dict[str, str]:
        """The headers; of several with one name the last."""
        return dict(self.header_lines)

    def begin(self) -> None:
        """Read the status and headers, behind whatever interim ones come first.

        Raises:
            NothingSent: the upstream had closed the connection before the request came.
            httpx2.TransportError: there is no answer.
        """
        connection = self._open()
        received = 0
        while self.status == 0:
            data = connection.read()
            if not received and not data and connection.missed_the_request():
                raise NothingSent
            received += len(data)
            self._take(data)
            if self.status == 0 and (not data or received > LARGEST_HEAD_BYTES):
                raise httpx2.RemoteProtocolError("the answer has no proper beginning")
        if self._is_complete:
            self._give_back()

    def read(self) -> bytes:
        """The next bytes of the body, as many as have come; b"" at its end.

        Raises:
            httpx2.TransportError: it broke off.
        """
        while not self._pieces:
            if self._is_complete:
                return b""
            self._take(self._open().read())
            if self._is_complete:
                self._give_back()
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)

    def be_patient(self, patience: Patience) -> None:
        """From now on reads have this patience."""
        if self._connection is not None:
            self._connection.patience = patience

    def abort(self) -> None:
        """End a read that blocks in another greenlet."""
        if self._connection is not None:
            self._connection.abort()

    def close(self) -> None:
        """Give up what has not been read. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.give_back(connection, None)

    def _open(self) -> Connection:
        if self._connection is None:
            raise httpx2.ReadError("the answer was closed")
        return self._connection

    def _take(self, data: bytes) -> None:
        try:
            self.feed(data)  # nothing means the end, which some answers have for their length
        except HTTPParseError as error:
            if not self._is_complete:
                raise httpx2.RemoteProtocolError(str(error)) from error
            self._has_more = True

    def _give_back(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            is_good = self.should_keep_alive() and not self._has_more
            self._pool.give_back(connection, self.headers if is_good else None)

    # What the parser calls:

    def _on_message_begin(self) -> None:
        self._has_more = self._is_complete

    def _on_status(self, _reason: str) -> None:
        pass

    def _on_header_field(self, name: str) -> None:
        if self._value:
            self._end_header()
        self._name += name

    def _on_header_value(self, value: str) -> None:
        self._value += value or " "

    def _end_header(self) -> None:
        if self._name and self.status == 0:
            self.header_lines.append((self._name.lower(), self._value.strip()))
        self._name = self._value = ""

    def _on_headers_complete(self) -> None:
        self._end_header()
        code = self.get_code()
        if code < FIRST_FINAL_STATUS:
            self.header_lines.clear()
        elif self.status == 0:
            self.status = code

    def _on_body(self, piece: bytearray) -> None:
        if not self._has_more:
            self._pieces.append(piece)

    def _on_message_complete(self) -> None:
        self._is_complete = self.status != 0
