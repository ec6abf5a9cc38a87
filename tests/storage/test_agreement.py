"""The figures of reports, of users' own usage, of counters, statements and the audit are the same figures."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import pytest
from sqlalchemy import insert, update

from chatapi.domain.calls import AttemptState, CallState, Charge, Grant, HeldCall, Settlement
from chatapi.domain.limits import Need
from chatapi.domain.principals import Claims
from chatapi.domain.statements import LocalMonth
from chatapi.domain.usage import Usage, UsageSource
from chatapi.logic.runtime import Runtime
from chatapi.storage import leases, statements
from chatapi.storage.ledger import new_id
from chatapi.storage.retention import make_partitions
from chatapi.storage.tables import access_tokens, calls, counters, usage_days
from tests.concurrency.model import utc
from tests.concurrency.world import LONG_AGO, LastingDatabase, World, ask
from tests.support.agreement import disagreements_in
from tests.support.history import id_at
from tests.support.runtimes import make_runtime

ZONES = {"utc": "UTC", "early": "Pacific/Kiritimati", "late": "Pacific/Pago_Pago"}
MODELS = ("tiny", "gpt-4o-mini", "=danger()")
BEGIN, NOW = utc("2026-10-30T00:00:00"), utc("2026-11-03T00:00:00")
CALLS = 60


@pytest.fixture
def world(emptied: LastingDatabase) -> World:
    """Three tenants far apart, two users each, two access tokens each, and calls around the end of a month."""
    world = emptied.world(BEGIN)
    tokens: list[Claims] = []
    for name, zone in ZONES.items():
        world.add_tenant(name, zone)
        for number in range(2):
            claims = world.add_user(f"{name}-{number}", name)
            other = claims._replace(jti=new_id())
            row = {"tenant_id": other.tenant_id, "user_id": other.user_id, "jti": other.jti, "name": "script"}
            ends = {"issued_at": LONG_AGO, "expires_at": utc("2099-01-01T00:00:00")}
            with world.database.write() as connection:
                connection.execute(insert(access_tokens), row | ends)
            tokens += [claims, other]
    _live(world, tokens, random.Random(7))
    return world


def _live(world: World, tokens: list[Claims], chance: random.Random) -> None:
    """Calls of every kind, at times of which each tenant has another day."""
    assert world.clock is not None
    held: list[HeldCall] = []
    for number in range(CALLS):
        world.clock.now = BEGIN + (NOW - BEGIN) * number / CALLS
        make_partitions(world.database)
        need = Need(chance.randrange(1, 100), chance.randrange(1, 100), 16)
        admission = ask(
            chance.choice(tokens), world.worker(), need, call_id=id_at(world.clock.now), model=chance.choice(MODELS)
        )
        decision = world.writer.submit(admission)
        assert isinstance(decision, Grant)
        held.append(decision.call)
        if chance.random() < 0.9:
            _end(world, held.pop(chance.randrange(len(held))), chance)
    world.clock.now = NOW
    leases.expire_strays(world.database, world.ledger, held)
    for claims in tokens[:2]:
        _hold(world, claims, NOW)


def _end(world: World, call: HeldCall, chance: random.Random) -> None:
    how = chance.random()
    if how < 0.3:
        leases.expire_strays(world.database, world.ledger, [call])
        if how < 0.2:  # for good
            return
    if 0.25 < how < 0.4:
        world.writer.submit(Settlement(call, CallState.RELEASED, Charge(), "upstream_error", AttemptState.REFUSED))
        return
    usage = Usage(chance.randrange(1, 200), 0, chance.randrange(1, 200), 0, UsageSource.UPSTREAM)
    usage = usage._replace(cached_tokens=usage.prompt_tokens // 2, reasoning_tokens=usage.completion_tokens // 3)
    cost = None if call.model == MODELS[2] else chance.randrange(10**9)
    charge = Charge(answered=chance.random() < 0.8, usage=usage, cost=cost)
    world.writer.submit(Settlement(call, CallState.SETTLED, charge, "completed", AttemptState.ANSWERED))


@pytest.fixture
def runtime(world: World, lasting_database_url: str) -> Iterator[Runtime]:
    made = make_runtime(lasting_database_url, clock=world.clock, daily_requests=None)
    yield replace(made, database=world.database, ledger=world.ledger)
    made.database.close()


def test_all_that_is_said_of_usage_agrees(runtime: Runtime) -> None:
    assert list(disagreements_in(runtime)) == []


@pytest.mark.parametrize("table", ["usage_days", "counters", "calls"])
def test_whatever_is_changed_behind_the_ledgers_back_is_found(world: World, runtime: Runtime, table: str) -> None:
    changed = {"usage_days": usage_days.c.cached_tokens, "counters": counters.c.cost_used, "calls": calls.c.cost}
    column = changed[table]
    with world.database.write() as connection:
        connection.execute(update(column.table).values({column: column + 1}))
    found = {line.split(" ")[0].rstrip(":") for line in disagreements_in(runtime)} - {"…"}
    expected = {
        "usage_days": {"report", "/v1/me/usage", "statement", "audit"},
        "counters": {"counter", "statement", "audit"},
        "calls": {"report", "/v1/me/usage", "counter", "statement", "audit"},
    }
    assert found == expected[table]


def test_a_statement_says_what_may_still_change(world: World, runtime: Runtime) -> None:
    claims = next(claims for name, claims in world.users.items() if name == "utc-0")
    with world.database.read() as connection:
        tenant = statements.find_tenant(connection, claims.tenant_id)
        assert tenant is not None
        month = LocalMonth.parse("2026-10")
        before = statements.read_statement(runtime.database, connection, tenant, month)
    assert before.is_over and before.is_complete and before.of_state("expired").calls
    late = utc("2026-10-31T23:59:59")
    _hold(world, claims, late)
    with world.database.read() as connection:
        after = statements.read_statement(runtime.database, connection, tenant, month)
        following = statements.read_statement(runtime.database, connection, tenant, LocalMonth(2026, 11))
    held = after.of_state("held")
    assert (held.calls, after.is_complete) == (before.of_state("held").calls + 1, False)
    assert held.held.tokens == before.of_state("held").held.tokens + 30 and after.total == before.total
    assert not following.is_over


def _hold(world: World, claims: Claims, instant: datetime) -> None:
    assert world.clock is not None
    world.clock.now = instant
    assert isinstance(world.writer.submit(ask(claims, world.worker(), call_id=id_at(instant))), Grant)
    world.clock.now = NOW
