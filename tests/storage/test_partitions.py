"""On PostgreSQL a call is stored with the calls of its id's month; months are made ahead of time, and once."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import delete, insert, select, text
from sqlalchemy.exc import IntegrityError

from chatapi.domain.retention import Month, first_id
from chatapi.errors import DatabaseUnavailable
from chatapi.logic.keeping import Keeper
from chatapi.storage import partitions, retention
from chatapi.storage.tables import attempts, calls
from tests.concurrency.model import utc
from tests.concurrency.world import World
from tests.support.history import answer, answered_at, held_at, history_of, id_at, places
from tests.support.runtimes import HandClock, at_once, make_runtime

NOW = utc("2031-05-17T12:00:00")
MONTHS = [Month(2031, 5), Month(2031, 6), Month(2031, 7)]


@pytest.fixture
def world(postgres_url: str) -> Iterator[World]:
    with history_of(postgres_url, NOW) as world:
        yield world


def stored(world: World) -> set[Month]:
    with world.database.read() as connection:
        return set(partitions.stored(connection))


def test_a_migrated_database_has_this_month_and_the_next_two(world: World) -> None:
    with world.database.read() as connection:
        now = connection.execute(text("SELECT now()")).scalar_one()
        assert not partitions.missing(connection, now)
        assert len(partitions.stored(connection)) == 3


def test_a_call_is_stored_with_its_month_and_what_has_none_is_stored_too(world: World) -> None:
    assert retention.make_partitions(world.database) == MONTHS
    for instant in ("2031-05-31T23:59:59", "2031-06-01T00:00:00", "2031-07-31T23:59:59", "2031-08-01T00:00:00"):
        answered_at(world, "utc", utc(instant), partitions=False)
    answered_at(world, "utc", NOW, call_id=str(uuid.uuid4()), partitions=False)  # no time-ordered id at all
    assert places(world) == {"calls_2031_05": 1, "calls_2031_06": 1, "calls_2031_07": 1, "calls_default": 2}
    with world.database.read() as connection:
        of_attempts = text("SELECT replace(tableoid::regclass::text, 'attempts', 'calls') FROM attempts")
        assert sorted(connection.execute(of_attempts).scalars()) == sorted(
            connection.execute(text("SELECT tableoid::regclass::text FROM calls")).scalars()
        )
    assert world.audit() == []


def test_months_are_made_once_however_many_ask_for_them(world: World) -> None:
    made = at_once(6, lambda _: retention.make_partitions(world.database))
    assert [months for months in made if months] == [MONTHS]
    assert retention.make_partitions(world.database) == []
    assert stored(world) >= set(MONTHS)


def test_a_worker_makes_months_in_its_rounds(postgres_url: str) -> None:
    clock = HandClock(NOW)
    runtime = make_runtime(postgres_url, clock=clock)
    keeper = Keeper(runtime)
    keeper.tick()
    with runtime.database.read() as connection:
        assert set(partitions.stored(connection)) >= set(MONTHS)
    runtime.database.close()


def test_calls_that_came_before_their_month_was_made_are_moved_into_it(world: World) -> None:
    answered_at(world, "utc", NOW, partitions=False)
    held = held_at(world, "early", NOW - timedelta(days=1), partitions=False)
    assert places(world) == {"calls_default": 2}
    retention.make_partitions(world.database)
    assert places(world) == {"calls_2031_05": 2}
    answer(world, held, NOW)
    assert world.audit() == []


def test_where_they_are_many_the_month_begins_behind_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "MOST_MOVED", 2)
    early = [held_at(world, "utc", NOW - timedelta(hours=hours), partitions=False) for hours in (3, 2, 1)]
    assert retention.make_partitions(world.database) == MONTHS
    assert retention.make_partitions(world.database) == []
    answered_at(world, "utc", NOW, partitions=False)
    answered_at(world, "utc", NOW - timedelta(hours=2, minutes=1), partitions=False)
    for call in early:
        answer(world, call, NOW)
    assert places(world) == {"calls_2031_05": 1, "calls_default": 4}
    assert world.audit() == []


def test_a_month_that_is_full_without_a_partition_stays_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "MOST_MOVED", 0)
    last = uuid.UUID(int=Month(2031, 6).first_id.int - 1)
    answered_at(world, "utc", NOW, call_id=str(last), partitions=False)
    assert retention.make_partitions(world.database) == MONTHS[1:]
    answered_at(world, "utc", NOW, partitions=False)
    assert places(world) == {"calls_default": 2}


@pytest.mark.parametrize("instant", [NOW, NOW - timedelta(days=4000)], ids=["of a month", "of no month"])
def test_attempts_belong_to_calls_wherever_they_are_stored(world: World, instant: datetime) -> None:
    retention.make_partitions(world.database)
    call = answered_at(world, "utc", instant, partitions=False)
    with world.database.read() as connection:
        row = dict(connection.execute(select(attempts)).mappings().one())
    with pytest.raises(IntegrityError), world.database.write() as connection:
        connection.execute(insert(attempts), row | {"call_id": id_at(instant)})
    with pytest.raises(IntegrityError), world.database.write() as connection:
        connection.execute(delete(calls).where(calls.c.id == call.call_id))


OLD = NOW - timedelta(days=500)
LATER = [Month(2031, 9), Month(2031, 10)]
SINCE = (NOW - timedelta(days=400)).date().isoformat()


def test_who_reads_all_calls_keeps_a_month_from_being_dropped_and_nobody_from_calling(world: World) -> None:
    answered_at(world, "utc", OLD)
    retention.make_partitions(world.database)
    old = retention.find_old(world.database, SINCE)
    with world.database.snapshot() as connection:
        partitions.hold(connection)
        with pytest.raises(DatabaseUnavailable):
            retention.drop_month(world.database, Month.of(OLD), old)
        answered_at(world, "utc", NOW)
    assert retention.drop_month(world.database, Month.of(OLD), old) == 1
    assert retention.drop_month(world.database, Month.of(OLD), old) is None
    assert Month.of(OLD) not in stored(world)
    assert world.audit() == []


def patiently(step: Callable[[], int | None]) -> int:
    """Try a step until it has its locks, as the command does."""
    give_up_at = time.monotonic() + 20
    while True:
        try:
            return step() or 0
        except DatabaseUnavailable:
            assert time.monotonic() < give_up_at
        time.sleep(0.05)


def test_months_are_made_and_dropped_while_calls_come_and_go(world: World) -> None:
    """Statements that name many calls lock every month, also the one that is to go."""
    answered_at(world, "utc", OLD)
    retention.make_partitions(world.database)
    old, stopping = retention.find_old(world.database, SINCE), threading.Event()

    def call(number: int) -> int:
        calls = 0
        while not stopping.is_set():
            answered_at(world, ("utc", "early")[number % 2], NOW, partitions=False)
            calls += 1
        return calls

    def drop(_: int) -> int:
        time.sleep(0.3)
        try:
            with world.database.write() as connection:
                assert partitions.make_ahead(connection, NOW + timedelta(days=92)) == [Month(2031, 8), *LATER]
            return sum(patiently(partial(retention.drop_month, world.database, month, old)) for month in old.months)
        finally:
            stopping.set()

    *called, dropped = at_once(5, lambda number: drop(number) if number == 4 else call(number))
    assert dropped == 1
    assert all(isinstance(calls, int) and calls > 0 for calls in called), called
    assert world.audit() == []


def test_a_call_of_a_clock_that_is_late_keeps_its_month(world: World) -> None:
    """Its id is of an old month, its windows are open: it is not dropped, whatever its id says."""
    answered_at(world, "utc", OLD)
    retention.make_partitions(world.database)
    answered_at(world, "utc", NOW, call_id=id_at(OLD))
    found = retention.find_old(world.database, SINCE)
    assert Month.of(OLD) not in found.months
    assert found.rows == {str(Month.of(OLD)): 1}


def test_a_call_that_comes_at_the_last_moment_is_put_back(world: World) -> None:
    answered_at(world, "utc", OLD)
    retention.make_partitions(world.database)
    old = retention.find_old(world.database, SINCE)
    late = held_at(world, "utc", NOW, call_id=id_at(OLD))
    assert retention.drop_month(world.database, Month.of(OLD), old) is None, "it is held"
    answer(world, late, NOW)
    assert retention.drop_month(world.database, Month.of(OLD), old) == 1
    assert places(world) == {"calls_default": 1}
    assert world.audit() == []


def test_a_month_that_was_taken_out_and_not_dropped_is_dropped_the_next_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered_at(world, "utc", OLD)
    old = retention.find_old(world.database, SINCE)
    late = answered_at(world, "utc", NOW, call_id=id_at(OLD))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(partitions, "detached", interrupt)
        retention.drop_month(world.database, Month.of(OLD), old)
    assert places(world) == {}
    again = retention.find_old(world.database, SINCE)
    assert again.months[Month.of(OLD)].calls == 1
    assert retention.drop_month(world.database, Month.of(OLD), again) == 1
    assert Month.of(OLD) not in retention.find_old(world.database, SINCE).months
    with world.database.read() as connection:
        assert connection.execute(select(calls.c.id)).scalars().all() == [late.call_id]
    assert world.audit() == []


def interrupt(_connection: object) -> None:
    raise KeyboardInterrupt


def test_a_month_is_kept_while_one_of_its_calls_is_young_somewhere(world: World) -> None:
    """The last hours of a month in UTC are of the next month where it is early."""
    for name in ("utc", "early"):
        answered_at(world, name, utc("2029-09-30T23:00:00"))
    assert Month(2029, 9) not in retention.find_old(world.database, "2029-10-01").months
    old = retention.find_old(world.database, "2029-10-02")
    assert old.months[Month(2029, 9)] == retention.OldMonth(2, "2029-10-01")
    assert retention.drop_month(world.database, Month(2029, 9), old) == 2


def test_the_first_id_of_a_month_is_its_first_millisecond() -> None:
    month = Month(2031, 6)
    assert month.first_id == first_id(utc("2031-06-01T00:00:00"))
    assert id_at(utc("2031-05-31T23:59:59.999")) < str(month.first_id) < id_at(utc("2031-06-01T00:00:00"))
