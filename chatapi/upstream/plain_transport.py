"""The way bytes travel to an upstream: httpx2's connection pool, with four things that it lacks.

- The patience with a silent upstream may change in the middle of an answer: long for the first byte, shorter between
  two chunks, and never beyond the call's deadline. httpx2 has one read timeout for a whole answer.
- A blocked read can be ended from another thread or greenlet, by shutting its socket down.
- An error says whether the request had been sent: what fails before that (also inside a proxy's CONNECT) is a
  `ConnectError` or `ConnectTimeout`.
- A connection is not used when its upstream may be closing it (`keep_alive`).

Only blocking sockets are used, so it works the same in threads and under gevent's monkey-patching.
"""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import httpcore2
import httpx2

from chatapi.upstream.answer import ANSWER, Answer, Decoded
from chatapi.upstream.cutoff import Cutoff, bind_to_cutoff, holding
from chatapi.upstream.keep_alive import KEEPALIVE_EXPIRY_S, REST_S, Resting, lasts_s, rest_s
from chatapi.upstream.letterhead import Letterhead
from chatapi.upstream.parcel import Pieces
from chatapi.upstream.patience import Patience
from chatapi.upstream.transport import Transport

MOST_CONNECTIONS = 1000

CORE_ERRORS = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.UnsupportedProtocol,
)


class PatientStream(httpcore2.NetworkStream):
    """A connection's bytes, read with the patience of the call that uses it now."""

    def __init__(self, inner: httpcore2.NetworkStream) -> None:
        self._inner = inner
        self.patience: Patience | None = None
        self._read_at = 0.0
        self._lasts_s = KEEPALIVE_EXPIRY_S

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what is there, waiting as long as the patience allows, or else `timeout` seconds."""
        data = self._inner.read(max_bytes, timeout if self.patience is None else self.patience.next_timeout_s())
        self._read_at = time.monotonic()
        return data

    def answered(self, headers: Mapping[str, str]) -> None:
        """The headers of an answer, their names in lower case, have come."""
        self._lasts_s = lasts_s(headers)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write a request: the patience of the answer before it is over, and its cutoff can end it."""
        self.patience = None
        bind_to_cutoff(self.abort)
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        """Close the connection."""
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """Go on in TLS."""
        return PatientStream(self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """What httpcore2 asks of a connection (`socket`, `is_readable`, …). One that is idle and readable is closed."""
        if info == "is_readable" and time.monotonic() - self._read_at > self._lasts_s:
            return True
        return self._inner.get_extra_info(info)

    def abort(self) -> None:
        """End a read that blocks in another thread or greenlet. The connection is of no use afterwards."""
        with contextlib.suppress(OSError):  # it is closed already
            self.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


class PatientBackend(httpcore2.SyncBackend):
    """Opens connections that are read with patience."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Open a connection; `timeout` in seconds."""
        return PatientStream(super().connect_tcp(host, port, timeout, local_address, socket_options))


class _Body(httpx2.SyncByteStream):
    """An answer's body, with httpcore2's errors as httpx2's.

    Args:
        inner: of httpcore2.
        connection: that it comes over.
        rest: has it given back later, when its connection has rested; None where that may be used at once.
    """

    def __init__(self, inner: Iterable[bytes], connection: PatientStream, rest: Callable[[_Body], None] | None) -> None:
        self._inner = inner
        self._connection = connection
        self._rest = rest
        self._is_whole = self._is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        with _errors_as_httpx2():
            yield from self._inner
        self._is_whole = True

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if self._rest is not None and self._is_whole:
            self._rest(self)
        else:
            self.give_back()

    def give_back(self, *, good: bool = True) -> None:
        """Let the pool have the connection again, or its place alone."""
        if not good:
            self._connection.abort()
        if hasattr(self._inner, "close"):
            self._inner.close()


class _Source:
    """The connection of one answer, as long as it is this answer's."""

    def __init__(self, connection: PatientStream) -> None:
        self._connection = connection
        self._patience: Patience | None = None

    def be_patient(self, patience: Patience) -> None:
        self._patience = self._connection.patience = patience

    def abort(self) -> None:
        if self._connection.patience is self._patience:
            self._connection.abort()


class PlainTransport(Transport):
    """httpx2's transport over connections as above.

    Args:
        proxy: the URL of an HTTP proxy on the way, or None.
        timeout: for relayed calls; the openai client brings its own.
    """

    def __init__(self, proxy: str | None, timeout: httpx2.Timeout) -> None:
        self._timeout = timeout
        self._resting = Resting[_Body]()
        shared: dict[str, Any] = {
            "ssl_context": httpx2.create_ssl_context(),
            "max_connections": MOST_CONNECTIONS,
            "max_keepalive_connections": MOST_CONNECTIONS,
            "keepalive_expiry": KEEPALIVE_EXPIRY_S,
            "network_backend": PatientBackend(),
        }
        if proxy is None:
            self._pool = httpcore2.ConnectionPool(**shared)
        else:
            via = httpx2.Proxy(proxy)
            self._pool = httpcore2.HTTPProxy(str(via.url), proxy_auth=via.raw_auth, **shared)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request and return its answer as soon as the status and headers are there."""
        self._wake(time.monotonic())
        if self._is_full():
            self._wake(math.inf, good=False)
        sent = False

        def trace(event: str, info: dict[str, Any]) -> None:
            nonlocal sent
            if event == "http11.send_request_headers.started":
                sent = info["request"].method != b"CONNECT"

        url = request.url
        core_request = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions={**request.extensions, "trace": trace},
        )
        with _errors_as_httpx2(lambda: sent):
            answer = self._pool.handle_request(core_request)
        if not isinstance(answer.stream, Iterable):
            raise TypeError("the connection pool gave an asynchronous body")
        connection: PatientStream = answer.extensions["network_stream"]
        headers = {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
        connection.answered(headers)
        extensions = {**answer.extensions, ANSWER: _Source(connection)}
        body = _Body(answer.stream, connection, self._rest if rest_s(headers) else None)
        return httpx2.Response(answer.status, headers=answer.headers, stream=body, extensions=extensions)

    def relay(self, letterhead: Letterhead, call_id: str, body: bytes | Pieces, cutoff: Cutoff) -> Answer:
        """Send a body; return when the status and headers of its answer have come."""
        with holding(cutoff):
            return Decoded(self.handle_request(letterhead.request(call_id, body, self._timeout)))

    def close(self) -> None:
        """Close the idle connections."""
        self._wake(math.inf)
        self._pool.close()

    def _is_full(self) -> bool:
        """Whether calls may be waiting for a connection: then none rests."""
        return len(self._pool.connections) >= MOST_CONNECTIONS

    def _rest(self, body: _Body) -> None:
        if self._is_full():
            body.give_back(good=False)
        else:
            self._resting.put(body, time.monotonic() + REST_S)

    def _wake(self, now: float, *, good: bool = True) -> None:
        for body in self._resting.woken(now):
            body.give_back(good=good)


@contextlib.contextmanager
def _errors_as_httpx2(sent: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Raise httpx2's error of the same name; ConnectError for all that happens before the request was sent."""
    try:
        yield
    except CORE_ERRORS as error:
        if sent():
            kind = getattr(httpx2, type(error).__name__, httpx2.TransportError)
        else:
            kind = httpx2.ConnectTimeout if isinstance(error, httpcore2.TimeoutException) else httpx2.ConnectError
        raise kind(str(error)) from error
