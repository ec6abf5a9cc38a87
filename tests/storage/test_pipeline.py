"""The ledger's statements on PostgreSQL: how often they are waited for, and how rows are found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from chatapi.domain.calls import AttemptState, CallState, Charge, Grant, Settlement
from chatapi.domain.idempotency import IdempotencyKey
from chatapi.domain.usage import Usage, UsageSource
from chatapi.storage import given
from chatapi.storage.engine import NotCommitted
from chatapi.storage.postgresql import Connection
from tests.concurrency.world import World, ask, world_of

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


@pytest.mark.parametrize("key", [None, "a key"])
def test_an_admission_takes_two_round_trips_and_a_settlement_one(
    world: World, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    worker_id = world.worker()
    settlement = play(world, worker_id)  # from now on the tenant's time zone is known
    trips: list[int] = []
    wait = Connection._wait

    def counted(self: Connection, *arguments: object) -> object:
        trips.append(1)
        return wait(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Connection, "_wait", counted)
    play(world, worker_id, key)
    assert len(trips) == 3
    world.writer.submit(settlement)  # a replay: what was guessed is rolled back
    assert len(trips) > 5
    assert world.audit() == []


def test_no_plan_of_the_ledger_reads_a_table(world: World) -> None:
    """Plans are kept, and these were made while the tables were nearly empty and reading all of them seemed cheap."""
    worker_id = world.worker()
    play(world, worker_id)
    for _ in range(2):  # the second call takes the key over from the first
        play(world, worker_id, "a key", ended="client_gone")
    with world.database.write() as connection:
        prepared = connection.execute(text("SELECT name FROM pg_prepared_statements")).scalars().all()
        plans = [
            "\n".join(connection.exec_driver_sql(f"EXPLAIN EXECUTE {name}('[]')").scalars())
            for name in prepared
            if name.startswith("chatapi")
        ]
    assert len(plans) >= 9
    for plan in plans:
        assert not any(way in plan for way in ("Seq Scan", "Hash", "Materialize", "Bitmap")), plan
        conditions = [line for line in plan.splitlines() if "Index Cond" in line]
        assert all("tenant_id = " in line or "(id = given." in line for line in conditions), plan


def test_what_the_server_refuses_before_the_commit_is_not_in_doubt(world: World) -> None:
    with pytest.raises(NotCommitted), world.database.write() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 50"))
        given.send(connection, "SELECT pg_sleep(5), $1::text", b"")
    assert isinstance(world.writer.submit(ask(world.users["ann"], world.worker())), Grant)


def test_who_is_ended_while_its_connection_is_lost_ends_of_that(world: World) -> None:
    class Ended(BaseException):
        """As of a greenlet that is killed: it must reach whoever killed it."""

    with pytest.raises(Ended), world.database.write() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.close()
        raise Ended
    assert isinstance(world.writer.submit(ask(world.users["ann"], world.worker())), Grant)
