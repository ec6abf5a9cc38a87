"""A report is read in a transaction, which nobody keeps for ever: not by reading slowly, and not by leaving."""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import psycopg
import pytest
from sqlalchemy import insert

from chatapi.logic.row_streams import MOST_AT_ONCE
from chatapi.storage.tables import usage_days
from tests.concurrency.world import world_of
from tests.support.gateway import Gateway, MakeGateway
from tests.support.me import claims_of
from tests.support.users import PASSWORD, User

REPORT_S = 3.0
ROWS = 40_000  # 14 MB: more than any socket keeps
OPEN = (  # whether at work on the next rows or waiting for the client: only reports fetch from a cursor
    "SELECT pid FROM pg_stat_activity"
    " WHERE datname = current_database() AND xact_start IS NOT NULL AND query LIKE 'FETCH %'"
)
LAST_CHUNK = b"0\r\n\r\n"


@pytest.fixture(scope="module")
def gateway(lasting_database_url: str, make_lasting_gateway: MakeGateway) -> Iterator[Gateway]:
    settings = {"CHATAPI_WORKERS": "1", "CHATAPI_REPORT_S": str(REPORT_S)}
    gateway = make_lasting_gateway(lasting_database_url, environment=settings)
    gateway.cli(
        "users", "add", "chief", "--tenant", "large", "--role", "operator", "--password-stdin", stdin=f"{PASSWORD}\n"
    )
    fill(gateway, ROWS)
    yield gateway


def fill(gateway: Gateway, rows: int, name: str = "model") -> None:
    claims = claims_of(gateway.token(User("chief", "large")))
    place = {"tenant_id": claims.tenant_id, "user_id": claims.user_id, "jti": claims.jti, "day": "2026-11-21"}
    filler = [place | {"model": f"{name}-{number:06}", "requests": 1, "cost": 1} for number in range(rows)]
    with world_of(gateway.database_url) as world, world.database.write() as connection:
        connection.execute(insert(usage_days), filler)


class Reader:
    """A client that the kernel keeps little for."""

    def __init__(self, gateway: Gateway) -> None:
        address = urlsplit(gateway.base_url)
        self.socket = socket.socket()
        self.socket.settimeout(20)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        self.socket.connect((address.hostname, address.port))
        token = gateway.token(User("chief", "large"))
        self.socket.sendall(
            f"GET /admin/reports/usage HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        self.received = b""

    def head(self) -> bytes:
        """The beginning of the reply."""
        while b"\r\n\r\n" not in self.received:
            self.received += self.socket.recv(4096)
        return self.received

    def rest(self) -> bytes:
        """All that comes until the end of the body or of the connection."""
        pieces = [self.received]
        try:
            while piece := self.socket.recv(1 << 20):
                pieces.append(piece)
                if piece.endswith(LAST_CHUNK):
                    break
        except ConnectionResetError:
            pass
        return b"".join(pieces)

    def close(self) -> None:
        self.socket.close()


def is_open(gateway: Gateway) -> bool:
    """Whether the transaction of a report is open."""
    url = gateway.database_url
    if url.startswith("postgresql"):
        with psycopg.connect(url, autocommit=True) as connection:
            return connection.execute(OPEN).fetchone() is not None
    fill(gateway, 1, f"written-at-{time.monotonic_ns()}")  # behind the reader's snapshot
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=0)) as connection:
        busy: int = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        return bool(busy)


def await_open(gateway: Gateway, patience_s: float = 2.0) -> None:
    """Wait until it is."""
    give_up_at = time.monotonic() + patience_s
    while not is_open(gateway):
        assert time.monotonic() < give_up_at, "no transaction is open"
        time.sleep(0.02)


def await_ended(gateway: Gateway, patience_s: float) -> float:
    """Wait until no such transaction is open; how long that took."""
    began = time.monotonic()
    while is_open(gateway):
        assert time.monotonic() - began < patience_s, "its transaction is still open"
        time.sleep(0.05)
    return time.monotonic() - began


def test_a_report_that_is_read_at_once_is_whole(gateway: Gateway) -> None:
    answer = gateway.http.get("/admin/reports/usage", access_token=gateway.token(User("chief", "large")))
    found = json.loads(answer.text)
    assert len(found["data"]) == found["total"]["requests"] == found["total"]["known_cost_nanodollars"] >= ROWS
    assert not is_open(gateway)


def test_a_report_that_is_read_too_slowly_is_broken_off_and_never_looks_whole(gateway: Gateway) -> None:
    reader = Reader(gateway)
    assert b" 200 " in reader.head()[:15]
    await_open(gateway)
    await_ended(gateway, REPORT_S + 2)
    body = reader.rest()
    assert not body.endswith(LAST_CHUNK) and b'"total"' not in body
    reader.close()
    assert "report_broken_off" in gateway.log() and "Error handling request" not in gateway.log()


def test_a_client_that_leaves_ends_its_transaction_at_once(gateway: Gateway) -> None:
    reader = Reader(gateway)
    reader.head()
    await_open(gateway)
    reader.close()
    assert await_ended(gateway, REPORT_S) < REPORT_S / 2


def test_more_reports_at_once_than_connections_are_spared_for_them_are_told_to_come_again(gateway: Gateway) -> None:
    readers = [Reader(gateway) for _ in range(MOST_AT_ONCE)]
    for reader in readers:
        assert b" 200 " in reader.head()[:15]
    token = gateway.token(User("chief", "large"))
    refused = gateway.http.get("/admin/reports/usage", access_token=token)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5"), refused.text
    for reader in readers:
        reader.close()
    await_ended(gateway, REPORT_S + 2)
    assert gateway.http.get("/admin/reports/usage?to=2000-01-01", access_token=token).status_code == 200


def test_a_database_that_breaks_midway_breaks_the_body_off(gateway: Gateway) -> None:
    if not gateway.database_url.startswith("postgresql"):
        pytest.skip("SQLite has no server that could end")
    reader = Reader(gateway)
    reader.head()
    with psycopg.connect(gateway.database_url, autocommit=True) as connection:
        assert connection.execute(f"SELECT pg_terminate_backend(pid) FROM ({OPEN}) AS reading").fetchall()
    body = reader.rest()
    assert not body.endswith(LAST_CHUNK) and b'"total"' not in body
    reader.close()
    token = gateway.token(User("chief", "large"))
    assert gateway.http.get("/admin/reports/usage?to=2000-01-01", access_token=token).status_code == 200
