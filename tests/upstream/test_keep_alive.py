"""Connections between two calls: kept, rested, and not used when their upstream may be closing them."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from chatapi.upstream.keep_alive import REST_S
from tests.upstream.servers import (
    BODY,
    END,
    REPLY,
    Request,
    answering,
    chunk,
    delta,
    event,
    sending,
    serving,
    streaming,
    upstream_at,
)

pytestmark = pytest.mark.usefixtures("way")


def test_a_connection_that_the_upstream_closed_meanwhile_loses_no_call() -> None:
    closed = threading.Event()

    def script(connection: socket.socket, request: Request) -> None:
        answering(200, REPLY)(connection, request)
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()

    with serving(script) as server, upstream_at(server.base_url) as upstream:
        for number in range(1, 4):
            assert upstream.complete(BODY, call_id="call-1").text == "Hi."
            assert closed.wait(5)
            closed.clear()
            assert len(server.requests) == server.connections == number


@pytest.mark.parametrize("header", ["Connection: close", "Connection: Close\r\nKeep-Alive: timeout=5"])
def test_a_connection_that_the_upstream_will_close_is_not_used_again(header: str) -> None:
    with serving(answering(200, REPLY, header)) as server, upstream_at(server.base_url) as upstream:
        for number in range(1, 3):
            assert upstream.complete(BODY, call_id="call-1").text == "Hi."
            assert server.connections == number


@pytest.mark.parametrize("pause_s", [0.0, 0.02])
def test_a_connection_that_the_upstream_closes_after_a_stream_loses_no_call(pause_s: float) -> None:
    """As llama.cpp's server does, without a word of it in its answer."""

    def script(connection: socket.socket, request: Request) -> None:
        if json.loads(request.body).get("stream"):
            streaming(event(delta("Hi.", "stop")), event(b"[DONE]"), END, pause_s, hang_up=True)(connection, request)
        else:
            answering(200, REPLY)(connection, request)

    with serving(script) as server, upstream_at(server.base_url) as upstream:
        for _ in range(5):
            assert "".join(event.text for event in upstream.open(BODY, call_id="call-1")) == "Hi."
            assert upstream.complete(BODY, call_id="call-2").text == "Hi."
        assert len(server.requests) == 10


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED = HEAD + chunk(json.dumps(REPLY).encode()) + END


def test_connections_of_answers_without_a_length_are_used_again_while_calls_keep_coming() -> None:
    with serving(sending(CHUNKED)) as server, upstream_at(server.base_url) as upstream:
        for _ in range(12):
            assert upstream.complete(BODY, call_id="call-1").text == "Hi."
            time.sleep(REST_S / 3)
        assert 1 <= server.connections <= 6


def test_no_call_waits_for_a_connection_that_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatapi.upstream.plain_transport.MOST_CONNECTIONS", 2)

    def ask(number: int) -> str:
        return upstream.complete(BODY, call_id=f"call-{number}").text

    with serving(sending(CHUNKED)) as server, upstream_at(server.base_url) as upstream:
        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(ask, range(6))) == ["Hi."] * 6
        assert [ask(number) for number in range(3)] == ["Hi."] * 3


@pytest.mark.parametrize(("said", "connections"), [("timeout=1", 2), ("max=5, Timeout = 9", 1), ("timeout=soon", 1)])
def test_a_connection_is_not_used_when_the_upstream_is_about_to_close_it(said: str, connections: int) -> None:
    with serving(answering(200, REPLY, f"Keep-Alive: {said}")) as server, upstream_at(server.base_url) as upstream:
        for _ in range(2):
            assert upstream.complete(BODY, call_id="call-1").text == "Hi."
        assert server.connections == connections
