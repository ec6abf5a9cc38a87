"""What a month's statement is made of, read in one transaction: roll-ups, the counter, calls, the trail."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import orjson
from sqlalchemy import BigInteger, ColumnElement, Connection, and_, case, cast, func, or_, select

from chatapi.domain.calls import AttemptState, CallState
from chatapi.domain.counters import CounterKey
from chatapi.domain.limits import Amount, Scope
from chatapi.domain.retention import first_id
from chatapi.domain.statements import CallsOfKind, LocalMonth, Statement, ZoneChange
from chatapi.domain.usage_reports import Group, Period, UsageFilter, UsageRow
from chatapi.domain.windows import Window, Zone
from chatapi.storage import counters
from chatapi.storage.admin_tables import trail
from chatapi.storage.engine import Database
from chatapi.storage.off_hub import execute_off_hub
from chatapi.storage.reports import usage_rows
from chatapi.storage.retention import calls_since
from chatapi.storage.tables import attempts, calls, tenants

CLOCKS_APART = timedelta(days=2)  # local days reach so far beyond UTC's, and gateways' clocks beyond the database's
MOST_ZONE_CHANGES = 100
ZONE_CHANGED = "tenant.set_timezone"  # in the trail


@dataclass(frozen=True, slots=True)
class StatedTenant:
    """A tenant, and its time zone."""

    id: str
    name: str
    zone: Zone


def find_tenant(
    connection: Connection, tenant_id: str | None = None, *, name: str | None = None
) -> StatedTenant | None:
    """The tenant of this id, or of this name."""
    columns = (tenants.c.id, tenants.c.name, tenants.c.timezone, tenants.c.next_timezone, tenants.c.next_timezone_from)
    its = tenants.c.name == name if tenant_id is None else tenants.c.id == tenant_id
    row = connection.execute(select(*columns).where(its)).one_or_none()
    return None if row is None else StatedTenant(str(row[0]), row[1], Zone(*row[2:]))


def read_statement(database: Database, connection: Connection, tenant: StatedTenant, month: LocalMonth) -> Statement:
    """The statement without its lines. Its cost grows with the calls of the month that are kept."""
    now = database.now(connection)
    [total] = usage_rows(connection, _usage(tenant, month))
    key = CounterKey(tenant.id, Scope.TENANT.value, tenant.id, Window.MONTH.value, str(month))
    counter = counters.read(connection, {key}).get(key)
    return Statement(
        tenant.id,
        tenant.name,
        month,
        tenant.zone,
        now,
        total.figures,
        tuple(usage_rows(connection, _usage(tenant, month, Group.MODEL))),
        tuple(_calls(connection, tenant, month)),
        _attempts_at_risk(connection, tenant, month),
        Amount(0, 0, 0) if counter is None else counter.used,
        calls_since(connection),
        tuple(_zone_changes(connection, tenant)),
    )


def statement_lines(connection: Connection, statement: Statement) -> Generator[UsageRow, None, None]:
    """The statement's lines by user and model, read as they are asked for."""
    tenant = StatedTenant(statement.tenant_id, statement.tenant, statement.zone)
    return usage_rows(connection, _usage(tenant, statement.month, Group.USER, Group.MODEL))


def _usage(tenant: StatedTenant, month: LocalMonth, *groups: Group) -> UsageFilter:
    return UsageFilter(
        tenant_id=tenant.id, first_day=month.first_day, last_day=month.last_day, group_by=groups, by=Period.ALL
    )


def _of_month(tenant: StatedTenant, month: LocalMonth) -> ColumnElement[bool]:
    """Calls of the month: found by their time-ordered ids, told by their day."""
    begin, end = (datetime.combine(date.fromisoformat(day), time(), UTC) for day in (month.first_day, month.last_day))
    return and_(
        calls.c.tenant_id == tenant.id,
        calls.c.id >= str(first_id(begin - CLOCKS_APART)),
        calls.c.id < str(first_id(end + timedelta(days=1) + CLOCKS_APART)),
        calls.c.day.between(month.first_day, month.last_day),
    )


def _calls(connection: Connection, tenant: StatedTenant, month: LocalMonth) -> Iterator[CallsOfKind]:
    def total(value: ColumnElement[Any]) -> ColumnElement[int]:
        return cast(func.coalesce(func.sum(value), 0), BigInteger)

    figures = (
        func.count(),
        total(case((calls.c.answered, 1), else_=0)),
        total(calls.c.prompt_tokens + calls.c.completion_tokens),
        total(calls.c.cost),
        total(case((calls.c.unpriced, 1), else_=0)),
        total(calls.c.prompt_bound + calls.c.completion_granted),
        total(calls.c.cost_bound),
    )
    kind = (calls.c.state, calls.c.usage_source)
    statement = select(*kind, *figures).where(_of_month(tenant, month)).group_by(*kind).order_by(*kind)
    for state, source, number, requests, tokens, cost, unpriced, held, cost_held in execute_off_hub(
        connection, statement, 100
    ):
        is_held = state == CallState.HELD.value
        charged = Amount(0, 0, 0) if is_held else Amount(requests, tokens, cost)
        yield CallsOfKind(
            state, source, number, charged, unpriced, Amount(number, held, cost_held) if is_held else Amount(0, 0, 0)
        )


def _attempts_at_risk(connection: Connection, tenant: StatedTenant, month: LocalMonth) -> int:
    """Attempts whose fate nobody saw: unknown, or sent by a call that is in flight no more."""
    its = and_(attempts.c.tenant_id == calls.c.tenant_id, attempts.c.call_id == calls.c.id)
    unseen = and_(attempts.c.state == AttemptState.SENT.value, calls.c.state != CallState.HELD.value)
    at_risk = or_(attempts.c.state == AttemptState.UNKNOWN.value, unseen)
    statement = select(func.count()).select_from(calls.join(attempts, its)).where(_of_month(tenant, month), at_risk)
    [row] = execute_off_hub(connection, statement, 1)
    return int(row[0])


def _zone_changes(connection: Connection, tenant: StatedTenant) -> Iterator[ZoneChange]:
    statement = (
        select(trail.c.at, trail.c.actor, trail.c.before, trail.c.after)
        .where(trail.c.tenant_id == tenant.id, trail.c.action == ZONE_CHANGED)
        .order_by(trail.c.id.desc())
        .limit(MOST_ZONE_CHANGES)
    )
    for row in connection.execute(statement):
        before, after = (orjson.loads(text) if text else {} for text in (row.before, row.after))
        names = [values.get("next_timezone") or values.get("timezone") for values in (before, after)]
        yield ZoneChange(row.at, row.actor, *names)
