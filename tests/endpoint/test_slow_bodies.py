"""A body must come at a rate, so that nobody holds a connection with next to nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from chatapi.endpoint import connections
from chatapi.endpoint.connections import Connection
from chatapi.errors import InvalidRequest


@pytest.fixture
def pair() -> Iterator[tuple[Connection, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Connection(ours), theirs


def test_who_sends_below_the_rate_is_given_up(
    pair: tuple[Connection, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "BODY_S", 0.3)
    ours, theirs = pair
    stop = threading.Event()

    def dribble() -> None:
        while not stop.wait(0.05):
            theirs.sendall(b"a" * 41)  # worth a hundredth of a second

    sender = threading.Thread(target=dribble)
    sender.start()
    ours.begin_body()
    began = time.monotonic()
    received = 0
    with pytest.raises(InvalidRequest, match="too slowly") as refused:
        while True:
            received += len(ours.recv(65_536))
    took = time.monotonic() - began
    stop.set()
    sender.join()
    assert refused.value.status == 408
    assert 0.3 <= took < 2
    assert received >= 41 * 3


def test_what_has_come_earns_time_for_the_rest(
    pair: tuple[Connection, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "BODY_S", 0.1)
    ours, theirs = pair
    ours.begin_body()
    theirs.sendall(b"a" * 2 * connections.LEAST_RATE)
    assert len(ours.recv(65_536)) == 2 * connections.LEAST_RATE
    later = threading.Timer(0.4, theirs.sendall, [b"b"])
    later.start()
    assert ours.recv(65_536) == b"b"
    later.join()


def test_what_has_come_is_taken_however_late(
    pair: tuple[Connection, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "BODY_S", 0.05)
    ours, theirs = pair
    ours.begin_body()
    theirs.sendall(b"in time")
    time.sleep(0.1)  # this process was busy
    assert ours.recv(65_536) == b"in time"
