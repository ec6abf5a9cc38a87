"""The ledger's writer where something is in the way of its batches."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import select

from chatapi.domain.calls import Abandonment, AttemptState, CallState, Charge, Decision, Grant, Item, Settlement
from chatapi.domain.limits import Denial, Metric
from chatapi.domain.windows import Window
from chatapi.errors import DatabaseUnavailable
from chatapi.storage.tables import counters
from chatapi.storage.tickets import Ticket
from tests.concurrency.world import World, ask, world_of


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    """Two tenants with a user each."""
    with world_of(database_url) as world:
        for tenant, user in (("acme", "red"), ("other", "blue")):
            world.add_tenant(tenant)
            world.add_user(user, tenant)
        yield world


def held(world: World) -> list[int]:
    """The requests that each counter holds."""
    with world.database.read() as connection:
        return list(connection.execute(select(counters.c.requests_held)).scalars())


def outcome(ticket: Ticket) -> Decision | bool | Exception:
    """What became of an item."""
    try:
        return ticket.wait()
    except DatabaseUnavailable as error:
        return error


def test_what_is_refused_beside_an_abandonment_holds_nothing(world: World) -> None:
    red, worker = world.users["red"], world.worker()
    world.set_limit("user", red.user_id, Metric.REQUESTS, Window.DAY, 0, tenant_id=red.tenant_id)
    _, refused = world.writer.submit_all([Abandonment(ask(red, worker)), ask(red, worker)])
    assert isinstance(outcome(refused), Denial)
    assert not any(held(world))
    assert world.audit() == []


def test_a_thread_that_cannot_be_started_is_started_for_the_next_call(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    red, worker, start = world.users["red"], world.worker(), threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "ledger-writer":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(DatabaseUnavailable):
            world.writer.submit(ask(red, worker))
    grant = world.writer.submit(ask(red, worker))
    assert isinstance(grant, Grant)
    assert set(held(world)) == {1}
    end = Settlement(grant.call, CallState.RELEASED, Charge(), "refused", AttemptState.REFUSED)
    assert world.writer.submit(end)


def test_a_row_that_somebody_keeps_locked_stops_its_tenant_only(postgres_url: str) -> None:
    with world_of(postgres_url) as world:
        for tenant, user in (("acme", "red"), ("other", "blue")):
            world.add_tenant(tenant)
            world.add_user(user, tenant)
        red, blue, worker = world.users["red"], world.users["blue"], world.worker()
        grants = [world.writer.submit(ask(claims, worker)) for claims in (red, blue)]
        ends = [
            Settlement(grant.call, CallState.RELEASED, Charge(), "refused", AttemptState.REFUSED)
            for grant in grants
            if isinstance(grant, Grant)
        ]
        with psycopg.connect(postgres_url) as somebody:
            locked = "SELECT FROM counters WHERE tenant_id = %s AND scope = 'tenant' FOR UPDATE"
            somebody.execute(locked, (red.tenant_id,))
            items: list[Item] = [*ends, ask(red, worker), ask(blue, worker)]
            outcomes = [outcome(ticket) for ticket in world.writer.submit_all(items)]
        assert [isinstance(found, DatabaseUnavailable) for found in outcomes] == [True, False, True, False]
        assert world.writer.owes(ends[0].call.call_id)
        assert world.writer.repay() == 0
        assert world.audit() == []
