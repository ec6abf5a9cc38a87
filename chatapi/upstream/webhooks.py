"""Posting to webhooks: to addresses that others chose, so with care.

The name is resolved here, each address is checked, and the connection goes to one that was: asking the name again for
the connection would let it answer something else (DNS rebinding). TLS still verifies the name. Redirects are not
followed, no proxy is used, little of the answer is read, and all of it takes a bounded time.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import httpx2

from chatapi.domain.public_addresses import Place, is_public, read_url
from chatapi.upstream.transport import runs_gevent

AT_ONCE = 32  # posts of one process, and so names that are looked up
TIMEOUT_S = 10.0
MOST_READ_BYTES = 65_536
USER_AGENT = "ChatAPI-Webhooks/1"
NO_PUBLIC_ADDRESS = "it has no public address (CHATAPI_WEBHOOK_PRIVATE_ADDRESSES)"

Resolve = Callable[[str, int], list[str]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a try: the status that was answered, or why there was none. Neither says what the answer said."""

    status: int | None = None
    problem: str | None = None

    @property
    def taken(self) -> bool:
        """Whether the receiver has taken it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """Whether the receiver wants nothing any more (410)."""
        return self.status == http.client.GONE

    @property
    def explained(self) -> str | None:
        """Why it was not taken, in a few words; None where it was."""
        if self.taken or self.status is None:
            return self.problem
        redirect = " (redirects are not followed)" if 300 <= self.status < 400 else ""
        return f"status {self.status}{redirect}"


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, as this machine finds them."""
    how: dict[str, Any] = {"type": socket.SOCK_STREAM, "proto": socket.IPPROTO_TCP}
    if not runs_gevent():
        found = socket.getaddrinfo(host, port, **how)
    else:
        from gevent.monkey import get_original

        found = _threads().apply(get_original("socket", "getaddrinfo"), (host, port), how)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    private: bool = False,
    timeout_s: float = TIMEOUT_S,
    find: Resolve = resolve,
) -> Outcome:
    """Post JSON to a webhook. Whatever goes wrong is the outcome; nothing is raised.

    Args:
        url: as it was given.
        body: JSON.
        headers: besides those of every request.
        private: whether addresses that are not public may be asked.
        timeout_s: for all of it but the name's look-up, for which the system's resolver has limits of its own.
        find: gives the addresses of a name.
    """
    try:
        place = read_url(url, private=private)
    except ValueError as error:
        return Outcome(problem=f"the URL {error}")
    try:
        addresses = _addresses(place, private, find)
        with _within(timeout_s):
            return Outcome(_post(place, body, headers, addresses, time.monotonic() + timeout_s))
    except _Refused as error:
        return Outcome(problem=str(error))
    except TimeoutError:
        return Outcome(problem=f"no answer within {timeout_s:g} s")
    except ssl.SSLCertVerificationError as error:
        return Outcome(problem=f"its certificate is not valid: {error.verify_message}")
    except ssl.SSLError:
        return Outcome(problem="TLS failed")
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Outcome(problem=_why(error))


class _Refused(Exception):
    """It is not asked at all."""


def _addresses(place: Place, private: bool, find: Resolve) -> list[str]:
    """The addresses that may be asked. Whether a name has others is not told: that would list an inner network."""
    try:
        found = find(place.host, place.port)
    except (OSError, UnicodeError):
        found = []
    allowed = [address for address in found if private or is_public(ipaddress.ip_address(address))]
    if not allowed:
        raise _Refused("it has no address" if private else NO_PUBLIC_ADDRESS)
    return allowed


def _post(place: Place, body: bytes, headers: Mapping[str, str], addresses: list[str], give_up_at: float) -> int:
    """Send it to the first address that takes a connection; the status of the answer."""
    with _connected(place, addresses, give_up_at) as sock:
        connection = http.client.HTTPConnection(place.host, place.port)
        connection.sock = cast(Any, _Bounded(sock, give_up_at))
        connection.putrequest("POST", place.target, skip_host=True, skip_accept_encoding=True)
        given = {"Host": place.authority, "Content-Type": "application/json", "User-Agent": USER_AGENT, **headers}
        for name, value in {**given, "Content-Length": str(len(body)), "Connection": "close"}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        response.close()  # nothing in it is of use to us
        return response.status


@contextmanager
def _connected(place: Place, addresses: list[str], give_up_at: float) -> Iterator[socket.socket]:
    failed: OSError | None = None
    for address in addresses:
        sock: socket.socket | None = None
        try:
            sock = socket.create_connection((address, place.port), _left_s(give_up_at))
            if place.scheme == "https":
                sock.settimeout(_left_s(give_up_at))
                sock = _tls().wrap_socket(sock, server_hostname=place.host)
        except OSError as error:
            failed = error
            if sock is not None:
                sock.close()
            continue
        with sock:
            yield sock
            return
    raise failed or OSError("no address")


def _within(seconds: float) -> AbstractContextManager[object]:
    """Raises TimeoutError after so long. A socket's own limit is, under gevent, one of each wait: TLS that drips would
    never come to it."""
    if not runs_gevent():
        return nullcontext()
    from gevent import Timeout

    limit: AbstractContextManager[object] = Timeout(seconds, TimeoutError())
    return limit


@cache
def _threads() -> Any:
    from gevent.threadpool import ThreadPool

    return ThreadPool(AT_ONCE)


@cache
def _tls() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


def _left_s(give_up_at: float) -> float:
    """Seconds that are left.

    Raises:
        TimeoutError: there are none.
    """
    left = give_up_at - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Bounded:
    """A socket for http.client that gives up at an instant, however the bytes drip, and when it has read enough."""

    def __init__(self, sock: socket.socket, give_up_at: float) -> None:
        self._sock = sock
        self._give_up_at = give_up_at

    def sendall(self, data: bytes) -> None:
        """Send it all."""
        self._sock.settimeout(_left_s(self._give_up_at))
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What comes back."""
        return io.BufferedReader(_Reader(self._sock, self._give_up_at))

    def close(self) -> None:
        """Its owner closes it."""


class _Reader(io.RawIOBase):
    def __init__(self, sock: socket.socket, give_up_at: float) -> None:
        super().__init__()
        self._sock = sock
        self._give_up_at = give_up_at
        self._left_bytes = MOST_READ_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._left_bytes <= 0:
            raise http.client.HTTPException("too much")
        self._sock.settimeout(_left_s(self._give_up_at))
        read = self._sock.recv_into(buffer, min(len(buffer), self._left_bytes))
        self._left_bytes -= read
        return read


def _why(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, http.client.HTTPException):
        return "its answer was no HTTP"
    return "the connection failed"
