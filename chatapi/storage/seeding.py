"""Counters that are kept only because a limit names them: of a minute, of calls in flight, of one model.

Whoever sets such a limit makes its counters, from the calls that are there, in the same transaction and while no call
of the tenant can be admitted or end. From then on admissions and ends keep them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, and_, case, delete, func, insert, literal, select
from sqlalchemy.sql.elements import ColumnElement

from chatapi.domain.counters import ABANDONED, Counter, CounterKey
from chatapi.domain.effective_limits import LimitScope
from chatapi.domain.limits import Scope
from chatapi.domain.retention import first_id
from chatapi.domain.windows import KEPT, Moment, Window, Zone, minute_key, window_begin, window_key
from chatapi.storage import counters as rows
from chatapi.storage.limits import LimitChange
from chatapi.storage.tables import calls, counters, tenants

CLOCKS_APART = timedelta(hours=1)  # the most by which gateways' clocks, which make ids, differ from the database's
PLACE = ("tenant_id", "scope", "scope_id", "window", "window_key", "model")


def keep_named(connection: Connection, changes: list[LimitChange], now: datetime) -> None:
    """Make the counters that these limits name, as exact as if they had been kept all along."""
    naming = [change for change in changes if change.window not in KEPT or change.model]
    for tenant_id in sorted({change.tenant_id for change in naming}):
        moment = _moment(connection, tenant_id, now)
        _lock(connection, tenant_id, moment)
        for change in naming:
            if change.tenant_id == tenant_id:
                _seed(connection, change, moment)


def figures_of(window: Window) -> dict[str, ColumnElement[int]]:
    """What a call adds to a counter of this window, by the counter's columns."""
    held, charged = calls.c.state == "held", calls.c.state.in_(["settled", "expired"])
    tokens, hold = calls.c.prompt_tokens + calls.c.completion_tokens, calls.c.prompt_bound + calls.c.completion_granted
    requests: ColumnElement[bool] = and_(charged, calls.c.answered)
    if window is Window.MINUTE:  # which counts attempts
        requests = and_(calls.c.state != "held", calls.c.ended != ABANDONED)
    used = literal(0) if window is Window.AT_ONCE else literal(1)
    return {
        "requests_used": case((requests, used), else_=0),
        "requests_held": case((held, 1), else_=0),
        "tokens_used": case((charged, tokens * used), else_=0),
        "tokens_held": case((held, hold), else_=0),
        "cost_used": case((charged, calls.c.cost * used), else_=0),
        "cost_held": case((held, calls.c.cost_bound), else_=0),
    }


def forget_minutes(connection: Connection, before: datetime) -> int:
    """Delete the counters of minutes that were over before this instant. Returns how many there were."""
    over = counters.c.window_key < minute_key(before)
    return connection.execute(delete(counters).where(counters.c.window == Window.MINUTE.value, over)).rowcount


def _moment(connection: Connection, tenant_id: str, now: datetime) -> Moment:
    zone = (tenants.c.timezone, tenants.c.next_timezone, tenants.c.next_timezone_from)
    return Moment.at(now, Zone(*connection.execute(select(*zone).where(tenants.c.id == tenant_id)).one()).at(now))


def _lock(connection: Connection, tenant_id: str, moment: Moment) -> None:
    """Keep all calls of the tenant from being admitted or ending: each of them changes one of these counters."""
    of_tenant = (tenant_id, Scope.TENANT.value, tenant_id)
    open_ones = [CounterKey(*of_tenant, window.value, window_key(window, moment.day)) for window in KEPT]
    rows.add(connection, dict.fromkeys(open_ones, Counter()))
    here = (counters.c.tenant_id == tenant_id, counters.c.scope == Scope.TENANT.value, counters.c.requests_held > 0)
    connection.execute(select(counters.c.window_key).where(*here).order_by(*counters.primary_key).with_for_update())


def _seed(connection: Connection, change: LimitChange, moment: Moment) -> None:
    scope = Scope.USER if change.scope is LimitScope.EACH_USER else Scope(change.scope)
    mine = [counters.c.tenant_id == change.tenant_id, counters.c.scope == scope.value]
    mine += [counters.c.window == change.window.value, counters.c.model == change.model]
    if change.scope is not LimitScope.EACH_USER:
        mine.append(counters.c.scope_id == change.scope_id)
    connection.execute(delete(counters).where(*mine))
    names = [*PLACE, *figures_of(change.window)]
    connection.execute(insert(counters).from_select(names, from_calls(change, moment)))


def from_calls(change: LimitChange, moment: Moment) -> Select[Any]:
    """The counters that this limit names in the window that is open, added up from calls."""
    scope = Scope.USER if change.scope is LimitScope.EACH_USER else Scope(change.scope)
    scope_id = {Scope.ACCESS_TOKEN: calls.c.jti, Scope.USER: calls.c.user_id, Scope.TENANT: calls.c.tenant_id}[scope]
    where = [calls.c.tenant_id == change.tenant_id, *_in_window(change.window, moment)]
    if change.scope is not LimitScope.EACH_USER:
        where.append(scope_id == change.scope_id)
    if change.model:
        where.append(calls.c.model == change.model)
    key = minute_key(moment.now) if change.window is Window.MINUTE else ""
    key = window_key(change.window, moment.day) if change.window in KEPT else key
    place = (calls.c.tenant_id, literal(scope.value), scope_id, literal(change.window.value), literal(key))
    sums = (func.sum(figure) for figure in figures_of(change.window).values())
    found = select(*place, literal(change.model), *sums).where(*where)
    return found.group_by(calls.c.tenant_id, scope_id)


def _in_window(window: Window, moment: Moment) -> list[ColumnElement[bool]]:
    if window is Window.AT_ONCE:
        return [calls.c.state == "held"]
    begins = window_begin(window, moment)
    lately = calls.c.id >= str(first_id(begins - CLOCKS_APART))  # so that only the end of the ledger is read
    if window is Window.MINUTE:
        return [lately, calls.c.admitted_at >= begins]
    if window is Window.DAY:
        return [lately, calls.c.day == moment.day]
    month = window_key(window, moment.day)
    return [lately, calls.c.day >= f"{month}-01", calls.c.day <= f"{month}-31"]
