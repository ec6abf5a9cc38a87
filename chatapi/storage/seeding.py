"""Counters that are kept only because a limit names them: of a minute, of calls in flight, of one model.

Whoever sets such a limit makes its counters, from the calls that are there, in the same transaction and while no call
of the tenant can be admitted or end. From then on admissions and ends keep them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Delete,
    Insert,
    Select,
    Text,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import TypeEngine

from chatapi.domain.counters import ABANDONED, Counter, CounterKey
from chatapi.domain.effective_limits import LimitScope, Unset
from chatapi.domain.limits import Scope
from chatapi.domain.retention import first_id
from chatapi.domain.windows import KEPT, Moment, Window, Zone, minute_key, window_begin, window_key
from chatapi.storage import counters as rows
from chatapi.storage.columns import ID, Row, UtcDateTime
from chatapi.storage.engine import Database
from chatapi.storage.limits import LimitChange
from chatapi.storage.tables import calls, counters, limits, tenants

CLOCKS_APART = timedelta(hours=1)  # the most by which gateways' clocks, which make ids, differ from the database's
AROUND = timedelta(hours=1)  # more than any transaction waits for locks: one that began before midnight has yesterday's
MINUTES_KEPT_FOR = timedelta(days=1)
LOOKED_AT = 1000  # counters at once: a few milliseconds
PLACE = ("tenant_id", "scope", "scope_id", "window", "window_key", "model")


class Kind(NamedTuple):
    """What statements about the counters that a limit names depend on; the rest are their parameters (`values_of`)."""

    whose: LimitScope
    window: Window
    of_model: bool

    @classmethod
    def of(cls, change: LimitChange) -> Kind:
        """Of this limit."""
        return cls(change.scope, change.window, bool(change.model))

    @property
    def scope(self) -> Scope:
        """Whose counters a limit of this kind is measured by."""
        return Scope.USER if self.whose is LimitScope.EACH_USER else Scope(self.whose)


def keep_named(connection: Connection, changes: list[LimitChange], database: Database) -> datetime:
    """Make the counters that these limits name and none does yet, as exact as if they had been kept all along.

    Returns:
        The instant at which the limits are set, by the database's clock, which is read when the locks are there: a
        minute may end while they are waited for, and no call may be admitted later without these limits.
    """
    naming = [change for change in changes if change.window not in KEPT or change.model]
    for tenant_id in sorted({change.tenant_id for change in naming}):
        _lock(connection, tenant_id, database.now(connection))
    now = database.now(connection)
    for change in naming:
        if change.setting is not Unset.INHERIT and not _is_named(connection, change):
            _seed(connection, change, _moment(connection, change.tenant_id, now))
    return now


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


def forget_minutes(database: Database, after: CounterKey | None) -> tuple[int, CounterKey | None]:
    """Look at the next of all counters, in their order, and delete those of minutes that were over a day ago.

    Args:
        after: the last one that was looked at; None begins with the first.

    Returns:
        How many were deleted, and the last that was looked at; None when there are no more.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    with database.read() as connection:
        over = minute_key(database.now(connection) - MINUTES_KEPT_FOR)
        found = rows.following(connection, after, LOOKED_AT)
    forgotten = [key for key in found if key.window == Window.MINUTE and key.window_key < over]
    if forgotten:
        with database.write() as connection:
            rows.forget(connection, forgotten)
    return len(forgotten), found[-1] if len(found) == LOOKED_AT else None


def _moment(connection: Connection, tenant_id: str, now: datetime) -> Moment:
    zone = (tenants.c.timezone, tenants.c.next_timezone, tenants.c.next_timezone_from)
    return Moment.at(now, Zone(*connection.execute(select(*zone).where(tenants.c.id == tenant_id)).one()).at(now))


def _lock(connection: Connection, tenant_id: str, now: datetime) -> None:
    """Keep all calls of the tenant from being admitted or ending: each of them changes one of these counters."""
    of_tenant = (tenant_id, Scope.TENANT.value, tenant_id)
    days = [_moment(connection, tenant_id, now + around).day for around in (-AROUND, timedelta(), AROUND)]
    near = {CounterKey(*of_tenant, window.value, window_key(window, day)) for window in KEPT for day in days}
    rows.add_unread(connection, dict.fromkeys(near, Counter()))
    here = (counters.c.tenant_id == tenant_id, counters.c.scope == Scope.TENANT.value, counters.c.requests_held > 0)
    connection.execute(select(counters.c.window_key).where(*here).order_by(*counters.primary_key).with_for_update())


def _is_named(connection: Connection, change: LimitChange) -> bool:
    """Whether a limit names the same counters already: then they are kept, and as exact as calls can tell."""
    here = {name: getattr(change, name) for name in ("tenant_id", "scope", "scope_id", "window", "model")}
    return connection.execute(select(limits.c.metric).filter_by(**here).limit(1)).first() is not None


def _seed(connection: Connection, change: LimitChange, moment: Moment) -> None:
    kind, values = Kind.of(change), values_of(change, moment)
    connection.execute(_forgetting(kind), values)
    connection.execute(_seeding(kind), values)


@cache
def _forgetting(kind: Kind) -> Delete:
    mine = [counters.c.tenant_id == given("tenant_id"), counters.c.scope == kind.scope.value]
    mine += [counters.c.window == kind.window.value, counters.c.model == given("model")]
    if kind.whose is not LimitScope.EACH_USER:
        mine.append(counters.c.scope_id == given("scope_id"))
    return delete(counters).where(*mine)


@cache
def _seeding(kind: Kind) -> Insert:
    return insert(counters).from_select([*PLACE, *figures_of(kind.window)], from_calls(kind))


@cache
def from_calls(kind: Kind) -> Select[Any]:
    """The counters that a limit of this kind names in the window that is open, added up from calls."""
    scope_id = {Scope.ACCESS_TOKEN: calls.c.jti, Scope.USER: calls.c.user_id, Scope.TENANT: calls.c.tenant_id}
    whose = scope_id[kind.scope]
    where = [calls.c.tenant_id == given("tenant_id"), *in_window(kind.window)]
    if kind.whose is not LimitScope.EACH_USER:
        where.append(whose == given("scope_id"))
    if kind.of_model:
        where.append(calls.c.model == given("model"))
    here = (calls.c.tenant_id, literal(kind.scope.value), whose, literal(kind.window.value))
    named = (*here, given("window_key"), given("model"))
    place = [column.label(name) for column, name in zip(named, PLACE, strict=True)]
    sums = (func.sum(figure).label(name) for name, figure in figures_of(kind.window).items())
    return select(*place, *sums).where(*where).group_by(calls.c.tenant_id, whose)


def given(name: str) -> ColumnElement[Any]:
    """One of `values_of`."""
    types: dict[str, TypeEngine[Any]] = {"tenant_id": ID, "scope_id": ID, "since": ID, "begins": UtcDateTime()}
    return bindparam(f"given_{name}", type_=types.get(name, Text()))


def values_of(change: LimitChange, moment: Moment) -> Row:
    """The parameters of a statement about the counters that a limit names in the window that is open."""
    values: Row = {"tenant_id": change.tenant_id, "scope_id": change.scope_id, "model": change.model}
    values["window_key"] = key = open_key(change.window, moment)
    values["first_day"], values["last_day"] = f"{key}-01", f"{key}-31"  # of a month
    if change.window is not Window.AT_ONCE:
        values["begins"] = begins = window_begin(change.window, moment)
        values["since"] = str(first_id(begins - CLOCKS_APART))  # so that only the end of the ledger is read
    return {f"given_{name}": value for name, value in values.items()}


def open_key(window: Window, moment: Moment) -> str:
    """The key of the window that holds this moment."""
    if window in KEPT:
        return window_key(window, moment.day)
    return minute_key(moment.now) if window is Window.MINUTE else ""


def in_window(window: Window) -> list[ColumnElement[bool]]:
    """Which calls count in the window that is open."""
    if window is Window.AT_ONCE:
        return [calls.c.state == "held"]
    lately = calls.c.id >= given("since")
    if window is Window.MINUTE:
        return [lately, calls.c.admitted_at >= given("begins")]
    if window is Window.DAY:
        return [lately, calls.c.day == given("window_key")]
    return [lately, calls.c.day >= given("first_day"), calls.c.day <= given("last_day")]
