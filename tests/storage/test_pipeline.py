"""The ledger's statements on PostgreSQL: how often they are waited for, and how rows are found."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import text

from chatapi.domain.calls import AttemptState, CallState, Charge, Grant, Settlement
from chatapi.domain.idempotency import IdempotencyKey
from chatapi.domain.limits import Metric
from chatapi.domain.usage import Usage, UsageSource
from chatapi.domain.windows import Window
from chatapi.storage import given
from chatapi.storage.attempts import begin_next
from chatapi.storage.engine import LOCK_WAIT_S, Database, NotCommitted
from chatapi.storage.postgresql import Connection
from tests.concurrency.world import World, ask, settings_of, world_of
from tests.storage.prepared import plans

CHARGE = Charge(answered=True, usage=Usage(10, 0, 5, 0, UsageSource.UPSTREAM))


@pytest.fixture
def world(postgres_url: str) -> Iterator[World]:
    with world_of(postgres_url) as world:
        world.add_tenant("acme")
        world.add_user("ann", "acme")
        yield world


def play(world: World, worker_id: str, key: str | None = None, ended: str = "completed") -> Settlement:
    """Admit and settle a call; its settlement."""
    named = None if key is None else IdempotencyKey(key, "the request")
    grant = world.writer.submit(ask(world.users["ann"], worker_id)._replace(key=named))
    assert isinstance(grant, Grant)
    settlement = Settlement(grant.call, CallState.SETTLED, CHARGE, ended, AttemptState.ANSWERED)
    world.writer.submit(settlement)
    return settlement


def play_together(world: World, worker_id: str) -> None:
    """Admit two calls in one transaction, and settle them in another: rows go as JSON where there are several."""
    asked = [ask(world.users["ann"], worker_id) for _ in range(2)]
    grants = [ticket.wait() for ticket in world.writer.submit_all(asked)]
    calls = [grant.call for grant in grants if isinstance(grant, Grant)]
    ends = [Settlement(call, CallState.SETTLED, CHARGE, "completed", AttemptState.ANSWERED) for call in calls]
    assert all(ticket.wait() for ticket in world.writer.submit_all(ends))


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One for each round trip of the ledger from now on."""
    made: list[int] = []
    wait = Connection._wait

    def counted(self: Connection, *arguments: object) -> object:
        made.append(1)
        return wait(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Connection, "_wait", counted)
    return made


@pytest.mark.parametrize("key", [None, "a key"])
def test_an_admission_takes_one_round_trip_and_with_a_key_two_and_a_settlement_one(
    world: World, trips: list[int], key: str | None
) -> None:
    worker_id = world.worker()
    settlement = play(world, worker_id)  # from now on the tenant's time zone is known, and what held for ann
    trips.clear()
    play(world, worker_id, key)
    assert len(trips) == (2 if key is None else 3)
    world.writer.submit(settlement)  # a replay: what was guessed is rolled back
    assert len(trips) > 5
    assert world.audit() == []


def test_limits_that_name_counters_take_no_more_and_nor_do_limits_that_somebody_has_looked_at(
    world: World, trips: list[int]
) -> None:
    claims, worker_id = world.users["ann"], world.worker()
    for scope, scope_id in (("user", claims.user_id), ("tenant", claims.tenant_id), ("access_token", claims.jti)):
        world.set_limit(scope, scope_id, Metric.TOKENS, Window.MINUTE, 10_000, tenant_id=claims.tenant_id)
    play(world, worker_id)
    trips.clear()
    play(world, worker_id, "a key")
    assert len(trips) == 4  # one more to make the minute's counters
    trips.clear()
    play(world, worker_id)
    assert len(trips) == 2
    with world.database.write() as connection:
        connection.execute(text("ANALYZE limits"))
    with world.database.read() as connection:  # where limits may come in another order
        assert world.ledger.standings(connection, claims)
    grant = world.writer.submit(ask(claims, worker_id))
    assert isinstance(grant, Grant)
    trips.clear()
    world.writer.submit(Settlement(grant.call, CallState.SETTLED, CHARGE, "completed", AttemptState.ANSWERED))
    assert len(trips) == 1
    assert world.audit() == []


def test_no_plan_of_the_ledger_reads_a_table(world: World) -> None:
    """Plans are kept, and these were made while the tables were nearly empty and reading all of them seemed cheap."""
    worker_id = world.worker()
    play(world, worker_id)
    for _ in range(2):  # the second call takes the key over from the first
        play(world, worker_id, "a key", ended="client_gone")
    play_together(world, worker_id)
    with world.database.write() as connection:
        found = plans(connection)
    assert len(found) >= 14
    for plan in found.values():
        assert not any(way in plan for way in ("Seq Scan", "Hash", "Materialize", "Bitmap")), plan
        conditions = [line for line in plan.splitlines() if "Index Cond" in line]
        assert all("tenant_id = " in line or "(id = " in line for line in conditions), plan


def test_a_text_that_postgresql_cannot_keep_is_refused_and_not_cut(world: World) -> None:
    with pytest.raises(ValueError, match="NUL"):
        world.writer.submit(ask(world.users["ann"], world.worker(), model="a\0b"))


def test_what_the_server_refuses_before_the_commit_is_not_in_doubt(world: World) -> None:
    with pytest.raises(NotCommitted), world.database.write() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 50"))
        given.send(connection, "SELECT pg_sleep(5)", [])
    assert isinstance(world.writer.submit(ask(world.users["ann"], world.worker())), Grant)


def end_connections(url: str, *, waiting: bool = False) -> int:
    """Have the server end the ledger's connections; how many it ended."""
    which = "application_name = 'chatapi'" + (" AND wait_event_type = 'Lock'" if waiting else "")
    with psycopg.connect(url, autocommit=True) as connection:
        return len(
            connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {which}").fetchall()
        )


def test_a_connection_that_ended_while_it_was_idle_leaves_no_doubt(world: World, postgres_url: str) -> None:
    worker_id = world.worker()
    play(world, worker_id)
    for _ in range(3):
        assert end_connections(postgres_url)
        time.sleep(0.1)
        play(world, worker_id)
    assert world.audit() == []


def test_a_connection_that_ends_while_it_waits_for_a_lock_leaves_no_doubt(world: World, postgres_url: str) -> None:
    worker_id = world.worker()
    for _ in range(2):  # from the second one on they are presumed to be granted: all of it goes at once
        play(world, worker_id)
    with psycopg.connect(postgres_url) as connection:
        connection.execute("SELECT FROM counters FOR UPDATE")
        (ticket,) = world.writer.submit_all([ask(world.users["ann"], worker_id)])
        give_up_at = time.monotonic() + LOCK_WAIT_S
        while not end_connections(postgres_url, waiting=True):
            assert time.monotonic() < give_up_at
    assert isinstance(ticket.wait(), Grant)


def test_who_is_ended_while_its_connection_is_lost_ends_of_that(world: World) -> None:
    class Ended(BaseException):
        """As of a greenlet that is killed: it must reach whoever killed it."""

    with pytest.raises(Ended), world.database.write() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.close()
        raise Ended
    assert isinstance(world.writer.submit(ask(world.users["ann"], world.worker())), Grant)


class SlowDatabase(Database):
    """A database whose transactions are open until `may_commit`."""

    is_open, may_commit = threading.Event(), threading.Event()

    @contextmanager
    def write(self, wait_s: float = LOCK_WAIT_S, *, urgent: bool = False) -> Iterator[sqlalchemy.Connection]:
        with super().write(wait_s, urgent=urgent) as connection:
            yield connection
            self.is_open.set()
            self.may_commit.wait(10)


def test_a_settlement_ends_an_attempt_whose_commit_it_has_waited_for(world: World, postgres_url: str) -> None:
    """Its client was told that the commit is in doubt, and so releases the call; the server is still about it."""
    worker_id = world.worker()
    play(world, worker_id)
    grant = world.writer.submit(ask(world.users["ann"], worker_id))
    assert isinstance(grant, Grant)
    slow = SlowDatabase(settings_of(postgres_url))
    begin = partial(begin_next, slow, grant.call, 2, "backup", "tiny", last=AttemptState.REFUSED)
    begun = threading.Thread(target=begin)
    begun.start()
    assert slow.is_open.wait(10)
    released = Settlement(grant.call, CallState.RELEASED, Charge(), "upstream_error", AttemptState.REFUSED)
    (ticket,) = world.writer.submit_all([released])
    time.sleep(0.3)  # it waits for the call's row
    slow.may_commit.set()
    begun.join()
    ticket.wait()
    slow.close()
    assert world.audit() == []


def test_a_settlement_has_nothing_of_attempts_while_it_waits_for_calls(world: World, postgres_url: str) -> None:
    """As whoever drops a month, who locks calls and then attempts."""
    worker_id = world.worker()
    play(world, worker_id)  # plans are made
    grant = world.writer.submit(ask(world.users["ann"], worker_id))
    assert isinstance(grant, Grant)
    waiting = "SELECT pid FROM pg_locks WHERE relation = 'calls'::regclass AND NOT granted"
    has = f"SELECT count(*) FROM pg_locks WHERE relation = 'attempts'::regclass AND pid IN ({waiting})"
    with psycopg.connect(postgres_url) as dropping:
        dropping.execute("LOCK TABLE ONLY calls IN ACCESS EXCLUSIVE MODE")
        settlement = Settlement(grant.call, CallState.SETTLED, CHARGE, "completed", AttemptState.ANSWERED)
        (ticket,) = world.writer.submit_all([settlement])
        give_up_at = time.monotonic() + LOCK_WAIT_S
        while not dropping.execute(waiting).fetchall():
            assert time.monotonic() < give_up_at
        assert dropping.execute(has).fetchone() == (0,)
    ticket.wait()
    assert world.audit() == []
