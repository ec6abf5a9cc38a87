"""Attempts after a call's first: what their rows say when something fails between two steps."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, select

from chatapi.domain.calls import AttemptState, CallState, Charge, Grant, HeldCall, Settlement
from chatapi.domain.usage import Usage, UsageSource
from chatapi.storage.attempts import begin_next
from chatapi.storage.tables import attempts, calls, counters
from tests.concurrency.model import utc
from tests.concurrency.world import LastingDatabase, World, ask

CHARGE = Charge(answered=True, usage=Usage(5, 0, 5, 0, UsageSource.UPSTREAM))


@pytest.fixture
def world(emptied: LastingDatabase) -> World:
    world = emptied.world(utc("2026-11-21T12:00:00"))
    world.add_tenant("acme")
    world.add_user("ann", "acme")
    return world


def tried_twice(world: World) -> HeldCall:
    """A call whose first attempt was refused and whose second is written."""
    grant = world.writer.submit(ask(world.users["ann"], world.worker()))
    assert isinstance(grant, Grant)
    assert begin_next(world.database, grant.call, 2, "other", "tiny", last=AttemptState.REFUSED)
    return grant.call


def states(world: World) -> list[tuple[int, str]]:
    with world.database.read() as connection:
        rows = connection.execute(select(attempts.c.number, attempts.c.state).order_by(attempts.c.number)).all()
    return [(number, state) for number, state in rows]


def test_an_attempt_whose_commit_was_in_doubt_ends_with_its_call(world: World) -> None:
    """Whoever wrote it was told that the database cannot answer, sent nothing, and ends the call with its first."""
    call = tried_twice(world)
    world.writer.submit(Settlement(call, CallState.RELEASED, Charge(), "upstream_error", AttemptState.REFUSED))
    assert states(world) == [(1, "refused"), (2, "refused")]
    assert world.audit() == []


def test_the_last_of_several_attempts_is_settled_alone(world: World) -> None:
    call = tried_twice(world)
    world.writer.submit(
        Settlement(call, CallState.SETTLED, CHARGE, "completed", AttemptState.ANSWERED, "chatcmpl-2", number=2)
    )
    assert states(world) == [(1, "refused"), (2, "answered")]
    assert world.audit() == []


def test_a_lost_call_that_was_tried_twice_is_written_again_and_audited_as_such(world: World) -> None:
    call = tried_twice(world)
    with world.database.write() as connection:
        for table in (attempts, calls, counters):
            connection.execute(delete(table))
    world.writer.submit(Settlement(call, CallState.SETTLED, CHARGE, "completed", AttemptState.ANSWERED, number=2))
    assert states(world) == [(2, "answered")]
    assert world.audit() == []
