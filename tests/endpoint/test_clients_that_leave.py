"""Clients that leave a call in flight: the upstream is cancelled within a second, and what was relayed is charged."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from chatapi.upstream import tokens
from tests.support.faults import last_text, pieces_of, reply_to
from tests.support.gateway import Gateway
from tests.support.http import raw_post
from tests.support.ledger import Ending, await_endings
from tests.support.postgres import DATABASES
from tests.support.routes import messages
from tests.upstream.servers import Request, delta, event, response, serving

AT_ONCE_S = 1.0
SOON_S = 15.0  # the first count of a process loads the vocabulary
V1 = "/v1/chat/completions"
MODEL = "gpt-4o-mini"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
PLAIN_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
REPLY = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "Hi."}}]}
SAID = pieces_of(reply_to("a few words"))
SILENT: dict[str, list[bytes]] = {
    "a stream": [STREAM_HEAD, *(event(delta(piece)) for piece in SAID)],
    "nothing": [],
    "a status": [b"HTTP/1.1 200 OK\r\n"],
    "half": [PLAIN_HEAD, b'{"id": '],
}
WHOLE = [STREAM_HEAD, event(delta("Hi")), event(delta(None, "stop")), event(b"[DONE]"), b"0\r\n\r\n"]


class Upstream:
    """An upstream that sends what the question names and then nothing, and notes when it is cut off."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.cut_at: list[float] = []

    def __call__(self, connection: socket.socket, request: Request) -> None:
        self.asked.append(json.loads(request.body))
        about = last_text(self.asked[-1])
        if about == "a slow reply":
            time.sleep(0.4)
            connection.sendall(response(200, json.dumps(REPLY).encode()))
        elif about == "a whole stream":
            connection.sendall(b"".join(WHOLE))
        else:
            self._fall_silent(connection, SILENT[about])

    def _fall_silent(self, connection: socket.socket, pieces: list[bytes]) -> None:
        connection.sendall(b"".join(pieces))
        connection.settimeout(20)
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""
        self.cut_at.append(time.monotonic())
        connection.close()


@dataclass
class Place:
    """A gateway of one worker and its upstream, for all tests of this module."""

    gateway: Gateway
    upstream: Upstream
    seen: int = 0

    def connect(self) -> socket.socket:
        address = urlsplit(self.gateway.base_url)
        return socket.create_connection((address.hostname or "", address.port or 0), timeout=10)

    def await_asked(self, count: int) -> None:
        await_that(lambda: len(self.upstream.asked) == count)

    def endings(self, count: int = 1) -> list[Ending]:
        """The calls since this was last asked, when they have ended."""
        found = await_endings(self.gateway.database_url, self.seen + count, SOON_S)[self.seen :]
        self.seen += count
        return found

    def assert_cut_since(self, left_at: float) -> None:
        """The upstream was cut off within a second after the client left."""
        await_that(lambda: self.upstream.cut_at)
        assert self.upstream.cut_at[-1] - left_at < AT_ONCE_S


@pytest.fixture(scope="module", params=DATABASES)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    kind, upstream = request.param, Upstream()
    if kind == "sqlite":
        url = request.getfixturevalue("sqlite_template").copy_to(tmp_path_factory.mktemp("leaving") / "x.sqlite3")
    else:
        server = request.getfixturevalue("postgres")
        url = server.url(server.create())
    with serving(upstream) as server:
        gateway = Gateway(url, upstream_url=server.base_url, environment={"CHATAPI_WORKERS": "1"}, start=False)
        try:
            gateway.start_with_users()
            yield Place(gateway, upstream)
            assert gateway.run("audit").returncode == 0
        finally:
            gateway.close()


@pytest.fixture
def place(shared: Place) -> Place:
    shared.upstream.asked.clear()
    shared.upstream.cut_at.clear()
    return shared


def body(text: str, *, stream: bool) -> dict[str, object]:
    return {"model": MODEL, "messages": messages(text), "stream": stream}


def await_that(true: Callable[[], object], patience_s: float = 10.0) -> None:
    give_up_at = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def leave(client: socket.socket, how: str) -> None:
    if how == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "half":
        client.shutdown(socket.SHUT_WR)
    else:
        client.close()


@pytest.mark.parametrize("path", [V1, "/chat"])
@pytest.mark.parametrize("how", ["close", "reset", "half"])
def test_a_client_that_leaves_a_silent_stream_is_charged_what_was_relayed(place: Place, path: str, how: str) -> None:
    with place.connect() as client:
        content = body("a stream", stream=True)
        client.sendall(raw_post(path, content, access_token=place.gateway.sign_in()))
        received = b""
        while "🙂".encode() not in received and b"ud83d" not in received:
            received += client.recv(65_536)
        left_at = time.monotonic()
        leave(client, how)
        place.assert_cut_since(left_at)
        (call,) = place.endings()
    assert call.kind == ("settled", "client_gone", True, "counted")
    assert call.completion_tokens == tokens.count_text(MODEL, "".join(SAID))
    assert call.prompt_tokens == tokens.measure_prompt(MODEL, place.upstream.asked[0])


def leave_while_asked(place: Place, client: socket.socket) -> None:
    """The client leaves while the upstream is at it, which is then cut off; the call is charged its hold."""
    place.await_asked(1)
    time.sleep(0.1)
    left_at = time.monotonic()
    client.close()
    place.assert_cut_since(left_at)
    (call,) = place.endings()
    assert call.kind == ("settled", "client_gone", False, "hold")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("said", ["nothing", "a status"])
def test_a_client_that_leaves_before_the_upstream_answers_is_charged_the_hold(
    place: Place, stream: bool, said: str
) -> None:
    client = place.connect()
    client.sendall(raw_post(V1, body(said, stream=stream), access_token=place.gateway.sign_in()))
    leave_while_asked(place, client)


def test_a_client_that_leaves_in_the_middle_of_a_plain_reply_is_charged_the_hold(place: Place) -> None:
    client = place.connect()
    token = place.gateway.sign_in()
    client.sendall(f"GET /api?q=half HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    leave_while_asked(place, client)


def kept(request: bytes) -> bytes:
    """The request on a connection that goes on."""
    return request.replace(b"Connection: close\r\n", b"")


def test_requests_that_wait_behind_one_another_are_all_answered(place: Place) -> None:
    """Pipelining: the next request is there, also in the socket, while the first is being answered."""
    request = raw_post(V1, body("a slow reply", stream=False), access_token=place.gateway.sign_in())
    with place.connect() as client:
        client.sendall(kept(request) * 2)
        time.sleep(0.2)
        client.sendall(request)
        received = b"".join(iter(lambda: client.recv(65_536), b""))
    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert received.count(b'"Hi."') == 3
    assert {call.ended for call in place.endings(3)} == {"completed"}


def test_a_connection_that_served_calls_before_is_watched_like_any(place: Place) -> None:
    token = place.gateway.sign_in()
    with place.connect() as client:
        for _ in range(5):
            client.sendall(kept(raw_post(V1, body("a whole stream", stream=True), access_token=token)))
            received = b""
            while not received.endswith(b"\r\n0\r\n\r\n"):  # a head may end in 0, too
                received += client.recv(65_536)
            assert b"[DONE]" in received
        client.sendall(kept(raw_post(V1, body("nothing", stream=True), access_token=token)))
        place.await_asked(6)
        time.sleep(0.1)
        left_at = time.monotonic()
    place.assert_cut_since(left_at)
    assert [call.ended for call in place.endings(6)] == ["completed"] * 5 + ["client_gone"]


def test_who_leaves_while_waiting_in_line_is_never_sent_upstream(place: Place) -> None:
    token = place.gateway.sign_in("one")
    first, second = place.connect(), place.connect()
    first.sendall(raw_post(V1, body("a stream", stream=True), access_token=token))
    place.await_asked(1)
    second.sendall(raw_post(V1, body("a stream", stream=True), access_token=token))
    time.sleep(0.5)
    second.close()
    await_that(lambda: any(line.get("status") == 499 for line in place.gateway.log_lines()), patience_s=AT_ONCE_S)
    first.close()
    (call,) = place.endings()
    assert call.ended == "client_gone"
    assert len(place.upstream.asked) == 1
