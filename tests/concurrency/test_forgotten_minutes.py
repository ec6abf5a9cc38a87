"""Counters of minutes that are long over are forgotten, part by part, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select

from chatapi.domain.counters import CounterKey
from chatapi.domain.windows import Window
from chatapi.logic.keeping import Keeper
from chatapi.logic.minutes import MinuteForgetter
from chatapi.storage import seeding
from chatapi.storage.ledger import new_id
from chatapi.storage.seeding import forget_minutes
from chatapi.storage.tables import counters
from tests.concurrency.acme import AT_HALF_PAST, NOON, end, held, set_limit, somewhere
from tests.concurrency.world import World
from tests.support.runtimes import HandClock, make_runtime


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    """Two users of one tenant, in the middle of a minute."""
    with somewhere(database_url, AT_HALF_PAST) as world:
        yield world


def minutes(world: World) -> list[str]:
    """The minutes that there are counters of."""
    with world.database.read() as connection:
        keys = select(counters.c.window_key).where(counters.c.window == "minute").order_by(counters.c.window_key)
        return list(connection.execute(keys).scalars())


def pass_through(world: World) -> list[int]:
    """Look at all counters, part by part; how many were forgotten in each."""
    forgotten, after = list[int](), None
    while not forgotten or after is not None:
        some, after = forget_minutes(world.database, after)
        forgotten.append(some)
    return forgotten


def test_minutes_that_were_over_a_day_ago_are_forgotten_part_by_part_and_nothing_else_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert world.clock is not None
    for scope in ("each_user", "tenant"):
        set_limit(world, scope, Window.MINUTE, 100)
        set_limit(world, scope, Window.DAY, 100, "tiny")
    last, late = AT_HALF_PAST + timedelta(days=2), held(world, "blue")
    for ago in (timedelta(days=2), timedelta(days=1, minutes=1), timedelta(days=1), timedelta(hours=23), timedelta()):
        world.clock.now = last - ago
        end(world, held(world, "red"))
    assert len(minutes(world)) == 11
    with world.database.read() as connection:
        others = select(func.count()).select_from(counters).where(counters.c.window != "minute")
        before = connection.execute(others).scalar_one()
        monkeypatch.setattr(seeding, "LOOKED_AT", 4)
        forgotten = pass_through(world)
        assert connection.execute(others).scalar_one() == before
    assert sum(forgotten) == 5
    assert len(forgotten) >= (before + 11) // 4
    assert minutes(world) == [
        key for key in ("2026-03-22T12:00Z", "2026-03-22T13:00Z", "2026-03-23T12:00Z") for _ in "12"
    ]
    assert sum(pass_through(world)) == 0
    end(world, late)  # its minute is forgotten, and stays so
    assert len(minutes(world)) == 6
    assert world.audit() == []


def test_workers_forget_them_in_their_rounds_and_not_more_than_once_an_hour(database_url: str) -> None:
    clock = HandClock(NOON)
    runtime = make_runtime(database_url, clock=clock)
    try:
        old = CounterKey(new_id(), "user", new_id(), "minute", "2026-03-20T11:59Z")

        def leave_one() -> None:
            with runtime.database.write() as connection:
                connection.execute(insert(counters), old._asdict())

        def there() -> int:
            with runtime.database.read() as connection:
                return connection.execute(select(func.count()).select_from(counters)).scalar_one()

        leave_one()
        Keeper(runtime).tick()
        assert there() == 0
        forgetter = MinuteForgetter(runtime)
        leave_one()
        assert (forgetter.tick(), there()) == (1, 0)
        leave_one()
        assert (forgetter.tick(), there()) == (0, 1)
    finally:
        runtime.database.close()
