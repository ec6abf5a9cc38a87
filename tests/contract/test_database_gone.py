"""CONTRACT §1 to §5: a database that cannot answer means 503 and Retry-After in every dialect, no upstream call."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.faults import FaultyUpstream
from tests.support.gateway import ONE_WORKER, Gateway, MakeGateway
from tests.support.postgres import FreshDatabase, Postgres
from tests.support.routes import ROUTES, refused_envelope

PATIENCE_S = 20.0


def assert_unavailable(gateway: Gateway, token: str, marker: str) -> None:
    """Every route and the password exchange say 503, when to come back, and nothing of what is inside."""
    with ThreadPoolExecutor(1 + len(ROUTES)) as pool:  # at once, as each takes as long as a database is waited for
        exchange = pool.submit(gateway.exchange, gateway.users.take().name)
        asked = [(pool.submit(route.ask, gateway, marker, token), route.refusal) for route in ROUTES]
    for asking, refusal in [(exchange, refused_envelope), *asked]:
        answer = asking.result()
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["retry-after"]) > 0
        message = refusal(answer).lower()
        assert not any(word in message for word in ("sqlalchemy", "psycopg", "sqlite", "select", "insert", "host"))


def await_recovery(gateway: Gateway, token: str) -> None:
    """Wait until every route answers again."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        statuses = [route.ask(gateway, "hello", token).status_code for route in ROUTES]
        if statuses == [200] * len(ROUTES):
            return
        time.sleep(0.3)
    raise AssertionError(f"it did not recover: {statuses}")


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server that the test may stop."""
    server = Postgres()
    yield server
    server.close()


def test_while_postgresql_is_stopped_nothing_is_answered_and_afterwards_all_is(
    own_postgres: Postgres, make_gateway: MakeGateway, faults: FaultyUpstream, marker: str
) -> None:
    gateway = make_gateway(own_postgres.url(own_postgres.create()), environment=ONE_WORKER, start=False)
    gateway.start_with_users()
    token = gateway.somebody
    assert ROUTES[0].ask(gateway, "hello", token).status_code == 200
    own_postgres.stop()
    assert_unavailable(gateway, token, marker)
    assert gateway.http.get("/healthz").status_code == 200
    assert gateway.http.get("/readyz").status_code == 503
    assert not faults.about(marker)
    own_postgres.start()
    await_recovery(gateway, token)
    assert gateway.http.get("/readyz").status_code == 200


@pytest.fixture(scope="module")
def on_sqlite(lasting_database: FreshDatabase, make_lasting_gateway: MakeGateway) -> Gateway:
    """A gateway on SQLite."""
    gateway = make_lasting_gateway(lasting_database("sqlite"), start=False)
    gateway.start_with_users()
    return gateway


@contextmanager
def write_locked(url: str) -> Iterator[None]:
    """Hold SQLite's write lock, as a process that is stuck in a transaction does."""
    with closing(sqlite3.connect(Path(url.removeprefix("sqlite:///")), isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


def test_while_sqlite_is_locked_nothing_is_answered_and_afterwards_all_is(
    on_sqlite: Gateway, faults: FaultyUpstream, marker: str
) -> None:
    token = on_sqlite.somebody
    assert ROUTES[0].ask(on_sqlite, "hello", token).status_code == 200
    with write_locked(on_sqlite.database_url):
        assert_unavailable(on_sqlite, token, marker)
        assert on_sqlite.http.get("/healthz").status_code == 200
        assert not faults.about(marker)
    await_recovery(on_sqlite, token)


def test_a_locked_sqlite_file_does_not_stop_the_other_requests(on_sqlite: Gateway) -> None:
    token = on_sqlite.somebody
    with write_locked(on_sqlite.database_url), ThreadPoolExecutor(8) as pool:
        stuck = [pool.submit(ROUTES[0].ask, on_sqlite, "hello", token) for _ in range(8)]
        time.sleep(0.3)
        for _ in range(5):
            started = time.monotonic()
            assert on_sqlite.http.get("/healthz").status_code == 200
            assert time.monotonic() - started < 0.5
        assert {waiting.result().status_code for waiting in stuck} == {503}
