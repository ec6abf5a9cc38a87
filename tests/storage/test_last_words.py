"""What is heard of PostgreSQL before a connection is lost: a refusal is proof that nothing was committed, and only a
refusal of its own. A relay between stands in for a pooler, and for a server that is slow to go."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from chatapi.domain.calls import Grant
from chatapi.errors import DatabaseUnavailable
from tests.concurrency.world import World, ask, world_of
from tests.storage.test_pipeline import play


class Relay:
    """A Unix socket in front of a server's own, which says what the server would not, or has not yet.

    Args:
        folder: where it listens.
        url: the server's.
    """

    def __init__(self, folder: Path, url: str) -> None:
        (host,) = re.findall(r"host=([^&]+)", url)
        self.url = url.replace(f"host={host}", f"host={folder}")
        self._server = f"{host}/.s.PGSQL.5432"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{folder}/.s.PGSQL.5432")
        self._listener.listen()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._sockets = [self._listener]
        self._leaving = False
        self.loses_the_next_commit = False
        threading.Thread(target=self._accept, daemon=True).start()

    def take_leave(self) -> None:
        """Say on every connection that it ends, and end it when more is asked."""
        self._leaving = True
        for client, _ in self._pairs:
            client.sendall(fatal("57P01", "terminating connection due to administrator command", place=True))

    def close(self) -> None:
        """Close everything."""
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # which also wakes who waits for it
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                self._sockets += (client, server)
                self._pairs.append((client, server))
                for way in (self._ask, self._answer):
                    threading.Thread(target=way, args=(client, server), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while (said := client.recv(65536)) and not self._leaving:
                loses = self.loses_the_next_commit and b"COMMIT\0" in said
                if loses:
                    self._pairs.remove((client, server))  # so its answers are not heard
                server.sendall(said)
                if loses:
                    time.sleep(0.3)
                    self.loses_the_next_commit = False
                    client.sendall(fatal("08P01", "server conn crashed?", place=False))
                    break
            self._leaving = False
            client.shutdown(socket.SHUT_RDWR)
            server.shutdown(socket.SHUT_RDWR)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while said := server.recv(65536):
                if (client, server) in self._pairs:
                    client.sendall(said)


def fatal(state: str, message: str, *, place: bool) -> bytes:
    """The message of an error that ends a connection. Source: PostgreSQL's manual, "Error and Notice Fields"."""
    fields = {"S": "FATAL", "V": "FATAL", "C": state, "M": message} | ({"R": "ProcessInterrupts"} if place else {})
    body = b"".join(f"{name}{value}".encode() + b"\0" for name, value in fields.items()) + b"\0"
    return b"E" + struct.pack("!I", len(body) + 4) + body


@pytest.fixture
def relay(postgres_url: str, tmp_path: Path) -> Iterator[Relay]:
    relay = Relay(tmp_path, postgres_url)
    yield relay
    relay.close()


@pytest.fixture
def world(relay: Relay) -> Iterator[World]:
    with world_of(relay.url) as world:
        world.add_tenant("acme")
        world.add_user("ann", "acme")
        yield world


def test_what_a_pooler_says_of_a_server_that_it_lost_is_doubt(relay: Relay, world: World) -> None:
    """The commit was executed: tried again, the call would meet its own row, and its hold would stay."""
    worker_id = world.worker()
    play(world, worker_id)
    play(world, worker_id)
    relay.loses_the_next_commit = True
    with pytest.raises(DatabaseUnavailable):
        world.writer.submit(ask(world.users["ann"], worker_id))
    with world.database.read() as connection:
        states = connection.execute(text("SELECT state, ended FROM calls ORDER BY id")).all()
    assert states[-1] == ("released", "abandoned")
    assert world.audit() == []


def test_what_the_server_said_before_it_was_gone_is_heard(relay: Relay, world: World) -> None:
    worker_id = world.worker()
    play(world, worker_id)
    play(world, worker_id)
    relay.take_leave()
    assert isinstance(world.writer.submit(ask(world.users["ann"], worker_id)), Grant)
    assert world.audit() == []
