"""The audit finds what breaks an invariant, and nothing where all is well."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy.sql import Executable

from chatapi.domain.calls import AttemptState, CallState, Charge, Grant, Settlement
from chatapi.domain.limits import Metric, Need, Price, Scope
from chatapi.domain.usage import Usage, UsageSource
from chatapi.domain.windows import Window, window_key
from chatapi.logic import audit as auditing
from chatapi.storage import leases
from chatapi.storage.audit_first import MOST_ROWS
from chatapi.storage.grants import LimitGrant, insert_grant
from chatapi.storage.ledger import new_id
from chatapi.storage.tables import attempts, calls, counters, limits, usage_days, workers
from tests.concurrency.world import LEASE_S, RENEW_S, World, ask
from tests.storage.lived_in import NOON, admitted, answer, world

__all__ = ["world"]


def execute(world: World, statement: Executable) -> None:
    """Break something."""
    with world.database.write() as connection:
        connection.execute(statement)


def broken(world: World) -> set[str]:
    """The invariants that the audit finds broken."""
    return {finding.invariant for finding in world.audit()}


def test_nothing_is_found_where_all_is_well(world: World) -> None:
    assert world.audit() == []
    assert list(auditing.lines([])) == []


BREAKS = [
    ({"I2", "I5"}, update(counters).where(counters.c.scope == "user").values(tokens_used=counters.c.tokens_used + 1)),
    ({"I2", "I5"}, update(counters).where(counters.c.scope == "tenant").values(requests_held=0)),
    ({"I2"}, update(counters).where(counters.c.scope == "access_token").values(cost_held=1)),
    ({"I2"}, delete(counters).where(counters.c.scope == "access_token", counters.c.window == "month")),
    ({"I3"}, update(calls).where(calls.c.state == "settled").values(ended_at=None)),
    ({"I3"}, update(calls).where(calls.c.state == "expired").values(usage_source="counted")),
    ({"I3"}, update(calls).where(calls.c.state == "released").values(ended=None)),
    ({"I3"}, update(calls).where(calls.c.state == "held").values(expired_at=NOON)),
    ({"I2", "I3", "I7"}, update(calls).where(calls.c.state == "settled").values(state="held")),
    ({"I3"}, update(attempts).where(attempts.c.state == "answered").values(state="sent")),
    ({"I4"}, delete(attempts)),
    ({"I4"}, update(attempts).values(started_at=NOON - timedelta(seconds=1))),
    ({"I6"}, update(workers).values(renewed_at=NOON - timedelta(seconds=2 * LEASE_S + 2 * RENEW_S))),
    ({"I6"}, update(calls).where(calls.c.state == "held").values(deadline_at=NOON - timedelta(minutes=1))),
    ({"I7"}, update(usage_days).values(completion_tokens=usage_days.c.completion_tokens + 1)),
    ({"I7"}, delete(usage_days)),
]


@pytest.mark.parametrize(("invariants", "statement"), BREAKS, ids=[str(number) for number in range(len(BREAKS))])
def test_what_breaks_an_invariant_is_found(world: World, invariants: set[str], statement: Executable) -> None:
    execute(world, statement)
    assert broken(world) == invariants


@pytest.mark.parametrize("scope", ["user", "each_user", "tenant", "access_token"])
def test_more_than_a_limit_allows_is_found(world: World, scope: str) -> None:
    claims = world.users["red"]
    scope_id = {"user": claims.user_id, "access_token": claims.jti}.get(scope, claims.tenant_id)
    of = claims.tenant_id
    world.set_limit(scope, scope_id, Metric.REQUESTS, Window.DAY, 1, tenant_id=of, changed_at=NOON)
    assert broken(world) == set(), "a limit that was set since the window opened proves nothing"
    world.set_limit(scope, scope_id, Metric.REQUESTS, Window.DAY, 1, tenant_id=of)
    assert broken(world) == {"I1"}
    world.set_limit(scope, scope_id, Metric.REQUESTS, Window.DAY, 2, tenant_id=of)
    assert broken(world) == set()


def test_more_than_a_limit_on_cost_allows_is_found_and_what_a_call_cost_beyond_its_bound_is_no_breach(
    world: World,
) -> None:
    claims, worker_id = world.add_user("ruby", "red"), world.worker()
    need = Need(10, 20, 16, price=Price(1, 2))  # 50 nano-dollars
    for _ in range(2):
        assert isinstance(world.writer.submit(ask(claims, worker_id, need)), Grant)
    tenant_id = claims.tenant_id
    world.set_limit("user", claims.user_id, Metric.COST, Window.DAY, 99, tenant_id=tenant_id)
    world.set_limit("tenant", claims.tenant_id, Metric.COST, Window.MONTH, 99, tenant_id=tenant_id)
    found = [finding for finding in world.audit() if finding.invariant == "I1"]
    assert [finding.rule.partition(" stay")[0] for finding in found] == [
        "cost of a user and day",
        "cost of a tenant and month",
    ]
    for limit in ("user", claims.user_id, Window.DAY), ("tenant", claims.tenant_id, Window.MONTH):
        world.set_limit(limit[0], limit[1], Metric.COST, limit[2], 150, tenant_id=tenant_id)
    call = world.writer.submit(ask(claims, worker_id, need))
    assert isinstance(call, Grant)
    charge = Charge(True, Usage(10, 0, 40, 0, UsageSource.UPSTREAM), cost=90)
    world.writer.submit(Settlement(call.call, CallState.SETTLED, charge, "completed", AttemptState.ANSWERED))
    assert world.audit() == []


def test_use_beyond_a_hold_and_truth_that_came_late_are_no_breach(world: World) -> None:
    worker_id = world.worker()
    claims = world.users["red"]
    call = admitted(world, "red", worker_id)
    leases.expire_strays(world.database, world.ledger, [call])
    answer(world, admitted(world, "red", worker_id), completion=2000)
    assert world.clock is not None
    world.clock.move(1)
    answer(world, call)
    with world.database.read() as connection:
        row = connection.execute(
            counters.select().where(counters.c.scope_id == claims.user_id, counters.c.window == "day")
        ).one()
    assert row.requests_used + row.requests_held > 3 and row.tokens_used > 1000
    assert world.audit() == []


def test_a_call_whose_row_was_lost_is_written_again_by_its_settlement(world: World) -> None:
    worker_id = world.worker()
    for window, model in ((Window.MINUTE, ""), (Window.AT_ONCE, ""), (Window.DAY, "tiny")):
        name_counters(world, "user", window, model, {Window.MINUTE: 5, Window.AT_ONCE: 2, Window.DAY: 3}[window])
    call = admitted(world, "red", worker_id)
    with world.database.write() as connection:
        connection.execute(delete(attempts).where(attempts.c.call_id == call.call_id))
        connection.execute(delete(calls).where(calls.c.id == call.call_id))
        here = counters.c.tenant_id == call.claims.tenant_id
        less = {"requests_held": counters.c.requests_held - 1, "tokens_held": counters.c.tokens_held - call.hold.tokens}
        connection.execute(update(counters).where(here).values(less))
    admitted(world, "red", worker_id)
    answer(world, call)
    assert world.audit() == []


def test_of_many_rows_the_first_are_shown_and_all_are_counted(world: World) -> None:
    claims = world.users["red"]
    names = ("tenant_id", "scope", "scope_id", "window", "window_key", "tokens_used")
    rows = [(claims.tenant_id, "access_token", new_id(), "day", "2026-01-01", 7) for _ in range(50)]
    with world.database.write() as connection:
        connection.execute(insert(counters), [dict(zip(names, row, strict=True)) for row in rows])
    (finding,) = world.audit()
    assert (finding.invariant, finding.count, len(finding.rows)) == ("I2", 50, MOST_ROWS)
    said = list(auditing.lines([finding]))
    assert said[0].startswith("I2 is broken 50 times")
    assert said[-1] == "  … and 30 more"


@pytest.mark.parametrize("scope", [Scope.USER, Scope.TENANT, Scope.ACCESS_TOKEN])
@pytest.mark.parametrize(("window", "model"), [(Window.DAY, ""), (Window.MONTH, ""), (Window.DAY, "tiny")])
def test_a_limit_is_taken_with_what_was_granted_for_its_window_and_with_nothing_else(
    world: World, scope: Scope, window: Window, model: str
) -> None:
    claims = world.users["red"]
    scope_id = {Scope.USER: claims.user_id, Scope.ACCESS_TOKEN: claims.jti}.get(scope, claims.tenant_id)
    place = (Metric.REQUESTS, window, 0)
    world.set_limit(scope.value, scope_id, *place, tenant_id=claims.tenant_id, model=model)
    assert broken(world) == {"I1"}
    grant = LimitGrant(
        tenant_id=claims.tenant_id, scope=scope, scope_id=scope_id, metric=Metric.REQUESTS, window=window,
        window_key=window_key(window, f"{NOON:%Y-%m-%d}"), model=model, value=2, reason="",
        granted_at=NOON, ends_at=NOON,
    )  # fmt: skip
    others: dict[str, Any] = {
        "window_key": "2020-01",
        "model": "other",
        "metric": Metric.TOKENS,
        "scope_id": new_id(),
        "value": 1,
    }
    with world.database.write() as connection:
        for name, other in others.items():
            insert_grant(connection, replace(grant, id=new_id(), **{name: other}))
    (finding,) = world.audit()
    assert (finding.invariant, finding.rows[0]["limit"]) == ("I1", 1), "one of them is a true one, of 1"
    with world.database.write() as connection:
        insert_grant(connection, replace(grant, withdrawn_at=NOON))
    assert broken(world) == set(), "what has been withdrawn may have been used before"


NAMING = [
    (scope, window, model)
    for scope in ("user", "each_user", "tenant", "access_token")
    for window, model in ((Window.MINUTE, ""), (Window.AT_ONCE, ""), (Window.AT_ONCE, "tiny"), (Window.MONTH, "tiny"))
]


def name_counters(world: World, scope: str, window: Window, model: str, value: int | None, **more: datetime) -> None:
    """Set a limit of red's, or of its tenant's, on requests."""
    claims = world.users["red"]
    scope_id = {"user": claims.user_id, "access_token": claims.jti}.get(scope, claims.tenant_id)
    of = claims.tenant_id
    world.set_limit(scope, scope_id, Metric.REQUESTS, window, value, tenant_id=of, model=model, **more)


@pytest.mark.parametrize(("scope", "window", "model"), NAMING)
def test_counters_that_a_limit_names_are_compared_with_calls(
    world: World, scope: str, window: Window, model: str
) -> None:
    name_counters(world, scope, window, model, None)
    answer(world, admitted(world, "red", world.worker()))
    assert world.audit() == []
    named = counters.update().where(counters.c.window == window.value, counters.c.model == model)
    for column in ("requests_used", "tokens_held", "cost_used"):
        execute(world, named.values({column: counters.c[column] + 1}))
        (finding,) = world.audit()
        assert (finding.invariant, finding.count) == ("I2", 1)
        shown = finding.rows[0]
        assert (shown["window"], shown["model"]) == (window, model)
        assert shown[f"{column}_by_counter"] == shown[f"{column}_by_calls"] + 1
        execute(world, named.values({column: counters.c[column] - 1}))
    execute(world, delete(counters).where(counters.c.window == window.value, counters.c.model == model))
    assert broken(world) == {"I2"}
    execute(world, delete(limits))  # as long as one names them, nothing adds up the calls again
    name_counters(world, scope, window, model, None)
    assert broken(world) == set()


def test_counters_of_minutes_that_are_over_and_those_that_no_limit_names_any_more_may_say_anything(
    world: World,
) -> None:
    name_counters(world, "user", Window.MINUTE, "", None)
    name_counters(world, "tenant", Window.AT_ONCE, "", None)
    execute(world, update(counters).where(counters.c.window.in_(["minute", "at_once"])).values(tokens_used=7))
    assert {row["window"] for finding in world.audit() for row in finding.rows} == {"minute", "at_once"}
    assert world.clock is not None
    world.clock.move(60)
    assert {row["window"] for finding in world.audit() for row in finding.rows if finding.invariant == "I2"} == {
        "at_once"
    }
    execute(world, delete(limits))
    assert "I2" not in broken(world)


@pytest.mark.parametrize(("scope", "window", "model"), NAMING)
def test_more_than_a_limit_on_a_named_counter_allows_is_found(
    world: World, scope: str, window: Window, model: str
) -> None:
    used = {Window.AT_ONCE: 1, Window.MONTH: 2, Window.MINUTE: 4}[window]
    name_counters(world, scope, window, model, used - 1, changed_at=NOON)
    assert broken(world) == set(), "a limit that was set since the window opened proves nothing"
    name_counters(world, scope, window, model, used - 1)
    (finding,) = world.audit()
    assert (finding.invariant, finding.count) == ("I1", 1)
    row = finding.rows[0]
    assert (row["window"], row["model"], row["limit"]) == (window, model, used - 1)
    assert row["used"] + row["held"] == used
    name_counters(world, scope, window, model, used)
    assert broken(world) == set()


def test_who_has_a_limit_of_its_own_need_not_keep_the_one_for_each_user(world: World) -> None:
    name_counters(world, "each_user", Window.MINUTE, "", 0)
    assert broken(world) == {"I1"}
    name_counters(world, "user", Window.MINUTE, "", 10)
    assert broken(world) == set()
    name_counters(world, "user", Window.MINUTE, "", None)
    assert broken(world) == set()


def test_of_calls_in_flight_those_before_the_limit_prove_nothing_and_those_after_it_do(world: World) -> None:
    assert world.clock is not None
    world.clock.move(1)
    name_counters(world, "user", Window.AT_ONCE, "", 0, changed_at=world.clock.now)
    assert broken(world) == set()
    execute(
        world, update(calls).where(calls.c.state == "held").values(admitted_at=world.clock.now + timedelta(seconds=1))
    )
    execute(world, update(attempts).values(started_at=world.clock.now + timedelta(seconds=1)))
    assert broken(world) == {"I1"}


def test_in_named_counters_too_use_beyond_a_hold_and_late_truth_are_no_breach(world: World) -> None:
    claims, worker_id = world.users["red"], world.worker()
    name_counters(world, "user", Window.MINUTE, "", 5)
    of = claims.tenant_id
    world.set_limit("user", claims.user_id, Metric.TOKENS, Window.DAY, 200, tenant_id=of, model="tiny")
    late = admitted(world, "red", worker_id)
    leases.expire_strays(world.database, world.ledger, [late])
    name_counters(world, "user", Window.MINUTE, "", 6)
    answer(world, admitted(world, "red", worker_id), completion=300)
    assert world.clock is not None
    world.clock.move(1)
    answer(world, late)
    with world.database.read() as connection:
        here = (counters.c.scope_id == claims.user_id, counters.c.model == "tiny")
        assert connection.execute(select(counters.c.tokens_used).where(*here)).scalar_one() > 200
    assert world.audit() == []
