"""The pool of connections under gevent: what is known of a request that nobody answered. (Run by test_gevent.)"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from chatapi.errors import UpstreamTimeout
from chatapi.upstream.connection import Connection
from chatapi.upstream.cutoff import Cutoff
from chatapi.upstream.dialling import Dialler
from chatapi.upstream.gevent_transport import GeventTransport
from chatapi.upstream.idle import IdleConnections
from chatapi.upstream.keep_alive import REST_S
from chatapi.upstream.patience import Patience
from chatapi.upstream.pool import Pool
from chatapi.upstream.transport import runs_gevent
from tests.upstream.servers import (
    BODY,
    END,
    Request,
    ScriptedServer,
    answering,
    chunk,
    response,
    serving,
    streaming,
    upstream_at,
)

HEAD = b"POST /v1 HTTP/1.1\r\nHost: upstream\r\nContent-Length: 2\r\n"
PATIENCE = Patience(5.0, float("inf"))


@pytest.fixture(name="server")
def _server() -> Iterator[ScriptedServer]:
    with serving(answering(200, {"a": 1})) as running:
        yield running


@contextmanager
def pool_to(server: ScriptedServer, **options: Any) -> Iterator[Pool]:
    pool = Pool(Dialler(server.base_url, None, 2.0), httpx2.Timeout(5.0, pool=0.05), **options)
    yield pool
    pool.close()


def send(pool: Pool, cutoff: Cutoff | None = None) -> bytes:
    answer = pool.send(HEAD, b"{}", PATIENCE, cutoff)
    body = b""
    while piece := answer.read():
        body += piece
    return body


def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pool not see that a connection was closed, as when the end comes at the same time as the request."""
    monkeypatch.setattr(Connection, "is_quiet", lambda _self: True)


def test_the_service_uses_this_pool_here() -> None:
    assert runs_gevent()


def test_a_request_that_crossed_with_the_connections_end_is_sent_on_another(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pool_to(server) as pool:
        send(pool)
        blind(monkeypatch)
        for connection in server._open:
            connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        assert send(pool) == b'{"a": 1}'
        assert (len(server.requests), server.connections) == (2, 2)


def test_a_request_on_a_connection_that_was_reset_before_is_sent_on_another(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pool_to(server) as pool:
        send(pool)
        blind(monkeypatch)
        (connection,) = server._open
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)  # wakes the server's thread, which then closes it
        while connection.fileno() >= 0:
            threading.Event().wait(0.01)
        assert send(pool) == b'{"a": 1}'
        assert (len(server.requests), server.connections) == (2, 2)


@pytest.mark.parametrize("linger", [False, True])
def test_a_request_that_came_and_was_not_answered_is_sent_once(linger: bool) -> None:
    def script(connection: socket.socket, request: Request) -> None:
        if len(server.requests) == 1:
            connection.sendall(response(200, b"{}"))
            return
        if linger:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise OSError("it dies over this one")

    with serving(script) as server, pool_to(server) as pool:
        send(pool)
        with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
            send(pool)
        assert len(server.requests) == 2


@pytest.mark.parametrize("more", [response(200, b"forged"), b"garbage", b"\x00"])
def test_more_than_was_asked_for_is_no_answer_to_the_next_call(more: bytes) -> None:
    def script(connection: socket.socket, _request: Request) -> None:
        number = len(server.requests)
        connection.sendall(response(200, b"right") + (more if number == 1 else b""))

    with serving(script) as server, pool_to(server) as pool:
        assert [send(pool), send(pool)] == [b"right", b"right"]
        assert server.connections == 2


def test_a_request_that_is_cut_off_before_it_was_acknowledged_may_have_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """On loopback our own end is acknowledged at once, and the request with it; over a network nothing is yet."""
    monkeypatch.setattr(Connection, "_acked", lambda _self: 0)
    cutoff = Cutoff()

    def script(connection: socket.socket, _request: Request) -> None:
        if len(server.requests) == 1:
            connection.sendall(response(200, b"{}"))
            return
        cutoff.cancel()
        raise OSError("nobody waits any more")

    with serving(script) as server, pool_to(server) as pool:
        send(pool)
        with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
            send(pool, cutoff)
        assert len(server.requests) == 2


def test_a_cancelled_request_is_not_tried_on_another_connection(server: ScriptedServer) -> None:
    cutoff = Cutoff()
    with pool_to(server) as pool:
        send(pool)
        cutoff.cancel()
        with pytest.raises(httpx2.ConnectError):
            send(pool, cutoff)
        assert len(server.requests) == 1


SLOW = streaming(0.1, chunk(b"x"), END)


def test_idle_connections_are_used_again_after_a_rest_and_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer_three(number: int) -> None:
        answers = [pool.send(HEAD, b"{}", PATIENCE, None) for _ in range(3)]
        for answer in answers:
            assert answer.read() == b"x"
            assert answer.read() == b""
        assert server.connections == number
        time.sleep(REST_S)

    with serving(SLOW) as server, pool_to(server) as pool:
        answer_three(3)
        monkeypatch.setattr("chatapi.upstream.keep_alive.KEEPALIVE_EXPIRY_S", 0.0)
        answer_three(3)
        assert send(pool) == b"x"
        assert server.connections == 4
        assert len(pool._idle) == 1


class Kept(Connection):
    """A connection of which only the end matters."""

    def __init__(self, closed: list[Connection]) -> None:
        ours, self.theirs = socket.socketpair()
        super().__init__(ours)
        self.closed = closed

    def close(self) -> None:
        super().close()
        self.theirs.close()
        self.closed.append(self)


def test_of_idle_connections_the_last_one_is_used_first_and_the_others_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatapi.upstream.keep_alive.REST_S", 0.5)
    closed = list[Connection]()
    one, two, three, four = (Kept(closed) for _ in range(4))
    idle = IdleConnections()
    idle.put(one, {"content-length": "0", "keep-alive": "timeout=1"})
    idle.put(two, {"content-length": "0"})
    assert closed == [one]  # seen when the next one was put
    idle.put(three, {"content-length": "0"})
    idle.put(four, {"transfer-encoding": "chunked", "keep-alive": "timeout=9"})
    assert [idle.take(), len(idle)] == [three, 2]
    time.sleep(0.5)
    assert [idle.take(), idle.take(), idle.take()] == [four, two, None]
    idle.put(two, {"content-length": "0"})
    idle.put(three, {"transfer-encoding": "chunked"})
    two.theirs.close()
    assert idle.take() is None
    idle.close()
    assert closed == [one, two, three]
    four.close()


def test_so_many_calls_at_once_and_no_more() -> None:
    with serving(SLOW) as server, pool_to(server, most_calls=2) as pool:
        answers = [pool.send(HEAD, b"{}", PATIENCE, None) for _ in range(2)]
        with pytest.raises(httpx2.PoolTimeout):
            pool.send(HEAD, b"{}", PATIENCE, None)
        for _ in range(2):
            answers[0].close()
        answers.append(pool.send(HEAD, b"{}", PATIENCE, None))
        with pytest.raises(httpx2.PoolTimeout):
            pool.send(HEAD, b"{}", PATIENCE, None)
        for answer in answers:
            answer.close()
        assert [send(pool), send(pool)] == [b"x", b"x"]


def test_an_answer_that_becomes_no_response_gives_its_place_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_more: object) -> None:
        raise RuntimeError

    with serving(SLOW) as server, pool_to(server, most_calls=1) as pool:
        monkeypatch.setattr(httpx2, "Response", fail)
        with httpx2.Client(transport=GeventTransport(pool, httpx2.Timeout(5.0))) as client:
            for _ in range(2):
                with pytest.raises(RuntimeError):
                    client.post(server.base_url, json={})
        assert send(pool) == b"x"


@pytest.mark.parametrize("pause_s", [0.02, 5.0])
@pytest.mark.usefixtures("way")
def test_the_head_of_an_answer_must_come_in_time_also_if_it_trickles(pause_s: float) -> None:
    def script(connection: socket.socket, _request: Request) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        for _ in range(100):
            connection.sendall(b"x")
            time.sleep(pause_s)

    began = time.monotonic()
    with serving(script) as server, upstream_at(server.base_url, first_byte_timeout_s=0.3) as upstream:
        for call in (upstream.complete, upstream.open):
            with pytest.raises(UpstreamTimeout):
                call(BODY, call_id="call-1")
        assert time.monotonic() - began < 1.5
