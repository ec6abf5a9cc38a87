"""Clients that do not read what they asked for are hung up on, and charged; those that read slowly are not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from chatapi.endpoint.connections import Connection, notice_vanishing
from tests.support.gateway import Gateway, MakeGateway
from tests.support.http import raw_post
from tests.support.ledger import await_endings, endings
from tests.support.routes import messages
from tests.upstream.servers import END, STREAM_HEAD, Request, delta, event, serving

SEND_TIMEOUT_S = 2
V1 = "/v1/chat/completions"
LARGE = event(delta("many words " * 5000))
ROUNDS = 400  # 22 MB: more than any socket keeps


class Endless:
    """An upstream that goes on until it is cut off or has sent `rounds` large events."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        self.rounds = ROUNDS
        self.sent = 0
        self.cut_at = 0.0

    def __call__(self, connection: socket.socket, _request: Request) -> None:
        connection.sendall(STREAM_HEAD)
        try:
            for _ in range(self.rounds):
                connection.sendall(LARGE)
                self.sent += 1
            connection.sendall(event(delta(None, "stop")) + event(b"[DONE]") + END)
        except OSError:
            self.cut_at = time.monotonic()
            raise


@pytest.fixture(scope="module")
def endless() -> Endless:
    return Endless()


@pytest.fixture
def upstream(endless: Endless) -> Endless:
    endless.begin_anew()
    return endless


@pytest.fixture(scope="module")
def gateway(lasting_database_url: str, make_lasting_gateway: MakeGateway, endless: Endless) -> Iterator[Gateway]:
    settings = {"CHATAPI_WORKERS": "1", "CHATAPI_SEND_TIMEOUT_S": str(SEND_TIMEOUT_S)}
    with serving(endless) as server:
        gateway = make_lasting_gateway(
            lasting_database_url, upstream_url=server.base_url, environment=settings, start=False
        )
        gateway.start_with_users()
        yield gateway
        gateway.close()


def connect(gateway: Gateway) -> socket.socket:
    """A client that the kernel keeps little for, and that gets segments as from a real network."""
    address = urlsplit(gateway.base_url)
    client = socket.socket()
    client.settimeout(20)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
    client.connect((address.hostname, address.port))
    return client


def begin(gateway: Gateway, client: socket.socket) -> None:
    body = {"model": "tiny", "messages": messages("hello"), "stream": True}
    client.sendall(raw_post(V1, body, access_token=gateway.sign_in()))


def test_who_reads_nothing_is_cut_and_charged_as_a_client_that_left(gateway: Gateway, upstream: Endless) -> None:
    before = len(endings(gateway.database_url))
    with connect(gateway) as client:
        begin(gateway, client)
        began = time.monotonic()
        (call,) = await_endings(gateway.database_url, 1, SEND_TIMEOUT_S + 10, after=before)
        took = time.monotonic() - began
        with pytest.raises(ConnectionResetError):
            while client.recv(65_536):
                pass
    assert call.kind == ("settled", "client_gone", True, "counted")
    assert call.completion_tokens > 0
    assert SEND_TIMEOUT_S <= took < SEND_TIMEOUT_S + 5
    assert upstream.cut_at > began
    assert upstream.sent < ROUNDS
    assert gateway.run("audit").returncode == 0


def test_who_reads_slowly_gets_it_all(gateway: Gateway, upstream: Endless) -> None:
    upstream.rounds = 60
    received, before = bytearray(), len(endings(gateway.database_url))
    with connect(gateway) as client:
        begin(gateway, client)
        until = time.monotonic() + 1.7 * SEND_TIMEOUT_S  # at twice the time the kernel would give up
        while time.monotonic() < until:
            received += client.recv(4096)
            time.sleep(0.2)
        while piece := client.recv(65_536):
            received += piece
    assert bytes(received).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    (call,) = await_endings(gateway.database_url, 1, 10, after=before)
    assert call.ended == "completed"


@pytest.fixture
def pair() -> Iterator[tuple[Connection, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Connection(ours, send_timeout_s=0.3), theirs


def test_the_time_begins_anew_with_all_that_is_taken(pair: tuple[Connection, socket.socket]) -> None:
    ours, theirs = pair
    read = 0
    stop = threading.Event()

    def take() -> None:
        nonlocal read
        while not stop.wait(0.05):
            with suppress(OSError):
                read += len(theirs.recv(40_000))

    reader = threading.Thread(target=take)
    reader.start()
    began = time.monotonic()
    ours.sendall(b"x" * 1_000_000)
    assert time.monotonic() - began > 0.3
    stop.set()
    theirs.close()
    reader.join()
    assert read > 500_000


def test_who_takes_nothing_is_given_up(pair: tuple[Connection, socket.socket]) -> None:
    ours, _ = pair
    began = time.monotonic()
    with pytest.raises(ConnectionResetError, match="too slowly"):
        ours.sendall(b"x" * 10_000_000)
    assert 0.3 <= time.monotonic() - began < 2


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="not Linux")
def test_accepted_connections_notice_clients_that_vanish() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        notice_vanishing(listener, 60.0)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
            idle, interval, count = (
                accepted.getsockopt(socket.IPPROTO_TCP, option)
                for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            )
    assert idle + interval * count <= 60
