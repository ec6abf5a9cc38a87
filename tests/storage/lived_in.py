"""A ledger with something of everything in it, for tests of what reads it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chatapi.domain.calls import AttemptState, CallState, Charge, Grant, HeldCall, Settlement
from chatapi.domain.limits import Metric
from chatapi.domain.usage import Usage, UsageSource
from chatapi.domain.windows import Window
from chatapi.storage import leases, seeding
from tests.concurrency.model import utc
from tests.concurrency.world import LastingDatabase, World, ask

NOON = utc("2026-11-21T12:00:00")
DAILY = {(Metric.REQUESTS, Window.DAY): 3, (Metric.TOKENS, Window.DAY): 1000}


@pytest.fixture
def world(emptied: LastingDatabase, monkeypatch: pytest.MonkeyPatch) -> World:
    """Two users with a settled, a released, an expired and a held call each."""
    monkeypatch.setattr(seeding, "CLOCKS_APART", timedelta(days=10000))  # ids are made by this machine's own clock
    world = emptied.world(NOON, DAILY)
    for name in ("red", "blue"):
        world.add_tenant(name)
        world.add_user(name, name)
        dying, worker_id = world.worker(), world.worker()
        answer(world, admitted(world, name, worker_id))
        released = admitted(world, name, worker_id)
        world.writer.submit(Settlement(released, CallState.RELEASED, Charge(), "refused", AttemptState.REFUSED))
        leases.expire_strays(world.database, world.ledger, [admitted(world, name, dying)])
        admitted(world, name, worker_id)
    return world


def admitted(world: World, name: str, worker_id: str) -> HeldCall:
    """A call of this user that is held."""
    decision = world.writer.submit(ask(world.users[name], worker_id))
    assert isinstance(decision, Grant)
    return decision.call


def answer(world: World, call: HeldCall, *, completion: int = 5) -> None:
    """Settle a call as answered."""
    charge = Charge(answered=True, usage=Usage(5, 0, completion, 0, UsageSource.UPSTREAM))
    world.writer.submit(Settlement(call, CallState.SETTLED, charge, "completed", AttemptState.ANSWERED))
