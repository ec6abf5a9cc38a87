"""Calls of the past: admitted and ended through the writer, with the clock and their ids at the time they are of."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, text

from chatapi.domain.calls import AttemptState, CallState, Charge, Grant, HeldCall, Settlement
from chatapi.domain.retention import first_id
from chatapi.domain.usage import Usage, UsageSource
from chatapi.storage.retention import make_partitions
from chatapi.storage.tables import attempts, calls
from tests.concurrency.world import Clock, World, ask, world_of


@contextmanager
def history_of(url: str, now: datetime) -> Iterator[World]:
    """A tenant in UTC and one in the time zone that is first everywhere, each with a user of its name."""
    with world_of(url, clock=Clock(now)) as world:
        for name, zone in (("utc", "UTC"), ("early", "Pacific/Kiritimati")):
            world.add_tenant(name, zone)
            world.add_user(name, name)
        yield world


def id_at(instant: datetime) -> str:
    """A time-ordered id that was made then (UUID version 7)."""
    rest = secrets.randbits(80) & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62
    return str(UUID(int=first_id(instant).int | rest))


def held_at(
    world: World, name: str, instant: datetime, *, call_id: str | None = None, partitions: bool = True
) -> HeldCall:
    """A call of this user that was admitted then, in the month that was made ahead for it."""
    assert world.clock is not None
    before, world.clock.now = world.clock.now, instant
    if partitions:
        make_partitions(world.database)
    decision = world.writer.submit(ask(world.users[name], world.worker(), call_id=call_id or id_at(instant)))
    assert isinstance(decision, Grant)
    world.clock.now = before
    return decision.call


def answered_at(
    world: World, name: str, instant: datetime, *, call_id: str | None = None, partitions: bool = True
) -> HeldCall:
    """The same, and answered at once."""
    call = held_at(world, name, instant, call_id=call_id, partitions=partitions)
    answer(world, call, instant)
    return call


def answer(world: World, call: HeldCall, instant: datetime) -> None:
    """Settle the call then."""
    assert world.clock is not None
    before, world.clock.now = world.clock.now, instant
    charge = Charge(answered=True, usage=Usage(5, 0, 5, 0, UsageSource.UPSTREAM))
    assert world.writer.submit(Settlement(call, CallState.SETTLED, charge, "completed", AttemptState.ANSWERED))
    world.clock.now = before


def days(world: World) -> list[str]:
    """The local days of the calls that are there, in order; each call has its attempt."""
    with world.database.read() as connection:
        found = list(connection.execute(select(calls.c.day).order_by(calls.c.day)).scalars())
        assert connection.execute(select(func.count()).select_from(attempts)).scalar() == len(found)
    return found


def places(world: World) -> dict[str, int]:
    """How many calls each partition holds, the empty ones left out."""
    count = "SELECT tableoid::regclass::text AS place, count(*) FROM calls GROUP BY place ORDER BY place"
    with world.database.read() as connection:
        return {row[0]: row[1] for row in connection.execute(text(count))}
