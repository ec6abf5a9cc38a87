"""Invariants I1 and I2 for the counters that are kept only because a limit names them: of a minute, of calls in flight,
of one model.

Nothing else says which of them should be there, so the limits are gone through one by one: there is one statement for
each counter that they name, and one for each limit. Only the window that is open is looked at: what an earlier one
counted may have begun before the limit was set.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    union_all,
)
from sqlalchemy import Row as Found

from chatapi.domain.effective_limits import LimitScope
from chatapi.domain.limits import Metric, Scope
from chatapi.domain.windows import KEPT, Moment, Window, window_begin
from chatapi.storage.audit_limits import beyond_hold, is_lost, opened, zone_names
from chatapi.storage.columns import Row
from chatapi.storage.counters import COLUMNS
from chatapi.storage.limits import LimitChange
from chatapi.storage.seeding import PLACE, from_calls, in_window, open_key
from chatapi.storage.tables import calls, counters, limits

UNLIKE = "every counter that a limit names is what its calls were charged and hold"


class Naming(NamedTuple):
    """A limit that names a counter, as it was set, at the moment of the audit.

    Args:
        limit: whose it is, its metric, window and model.
        value: None is unlimited: the counter is kept all the same.
        changed_at: when it was set.
        opened_at: when the window that is open began; of what is held at once None.
        moment: now, in the tenant's time zone.
    """

    limit: LimitChange
    value: int | None
    changed_at: datetime
    opened_at: datetime | None
    moment: Moment

    @property
    def scope(self) -> Scope:
        """Whose counters it is measured by."""
        return Scope.USER if self.limit.scope is LimitScope.EACH_USER else Scope(self.limit.scope)

    @property
    def counter(self) -> tuple[str, ...]:
        """What tells its counters from those that other limits name."""
        limit = self.limit
        return limit.tenant_id, limit.scope.value, limit.scope_id, limit.window.value, limit.model

    @property
    def proves(self) -> bool:
        """Whether it held for all that the open window has counted; of calls in flight each one is looked at."""
        return self.opened_at is None or self.changed_at < self.opened_at


def named_checks(connection: Connection, now: datetime) -> Iterator[tuple[str, str, Select[Row]]]:
    """Of which invariant, its rule, and the statement that finds what breaks it."""
    seen = set()
    for naming in _namings(connection, now):
        if naming.counter not in seen:
            seen.add(naming.counter)
            yield "I2", UNLIKE, _unlike_calls(naming)
        if naming.value is not None and naming.proves:
            of_model = " with one model" if naming.limit.model else ""
            what = f"{naming.limit.metric}{of_model} of a {naming.scope} and {naming.limit.window}"
            rule = f"{what} stay within the limit, but for what calls used beyond their holds"
            yield "I1", rule, _above(naming, naming.value)


def _namings(connection: Connection, now: datetime) -> Iterator[Naming]:
    names = or_(limits.c.window.not_in([window.value for window in KEPT]), limits.c.model != "")
    zones = {row[0]: row[1] for row in connection.execute(zone_names(), {"now": now})}
    for row in connection.execute(select(limits).where(names).order_by(*limits.primary_key)).all():
        yield _naming(row, zones[row.tenant_id], now)


def _naming(row: Found[Any], zones: str, now: datetime) -> Naming:
    scope, window = LimitScope(row.scope), Window(row.window)
    moment = Moment.at(now, ZoneInfo(zones.rsplit(" ", maxsplit=1)[-1]))
    limit = LimitChange(row.tenant_id, scope, row.scope_id, Metric(row.metric), window, row.value or 0, row.model)
    opened_at = None
    if window in KEPT:
        _, opened_at = opened(zones, now, window)
    elif window is Window.MINUTE:
        opened_at = window_begin(window, moment)
    return Naming(limit, row.value, row.changed_at, opened_at, moment)


def _unlike_calls(naming: Naming) -> Select[Row]:
    """Adds up what calls say and takes away what counters say: whatever is left over is wrong, on either side."""
    by_calls = from_calls(naming.limit, naming.moment).subquery()
    sides = [
        select(*(table.c[name] for name in PLACE), *_figures(table, "calls"), *_figures(table, "counter")).where(*where)
        for table, where in ((by_calls, ()), (counters, _here(naming)))
    ]
    both = union_all(*sides).subquery()
    sums = {column.name: func.sum(column) for column in both.c if column.name not in PLACE}
    unlike = or_(*(sums[f"{name}_by_calls"] != sums[f"{name}_by_counter"] for name in COLUMNS))
    place = [both.c[name] for name in PLACE]
    return select(*place, *(figure.label(name) for name, figure in sums.items())).group_by(*place).having(unlike)


def _figures(table: Any, side: str) -> list[ColumnElement[int]]:
    """The figures of one side, and nothing where the table is the other one's."""
    is_its_own = (table is counters) == (side == "counter")
    return [(table.c[name] if is_its_own else literal(0)).label(f"{name}_by_{side}") for name in COLUMNS]


def _here(naming: Naming) -> list[ColumnElement[bool]]:
    """The counters of the open window that the limit names."""
    limit = naming.limit
    key = (limit.tenant_id, naming.scope.value, limit.window.value, open_key(limit.window, naming.moment), limit.model)
    columns = (counters.c.tenant_id, counters.c.scope, counters.c.window, counters.c.window_key, counters.c.model)
    here = [column == value for column, value in zip(columns, key, strict=True)]
    return here if limit.scope is LimitScope.EACH_USER else [*here, counters.c.scope_id == limit.scope_id]


def _above(naming: Naming, value: int) -> Select[Row]:
    """The counters with `used + held` above the limit and above what calls used beyond their holds.

    Of calls in flight nothing is used, and those that were admitted before the limit was set prove nothing about it.
    """
    metric, is_at_once = naming.limit.metric, naming.limit.window is Window.AT_ONCE
    used, held = counters.c[f"{metric}_used"], counters.c[f"{metric}_held"]
    figures = (literal(metric.value).label("metric"), literal(value).label("limit"), used.label("used"))
    where = [*_here(naming), used + held > value]
    if naming.limit.scope is LimitScope.EACH_USER:
        where.append(counters.c.scope_id.not_in(_with_limits_of_their_own(naming)))
    if is_at_once:
        older = exists().where(*_of_counter(naming), calls.c.admitted_at <= naming.changed_at)
        where.append(not_(older.correlate(counters)))
    else:
        where.append(used + held > value + _overshoot(naming))
    return select(*(counters.c[name] for name in PLACE), *figures, held.label("held")).where(*where)


def _with_limits_of_their_own(naming: Naming) -> Select[str]:
    limit = naming.limit
    return select(limits.c.scope_id).where(
        limits.c.tenant_id == limit.tenant_id,
        limits.c.scope == LimitScope.USER.value,
        limits.c.metric == limit.metric.value,
        limits.c.window == limit.window.value,
        limits.c.model == limit.model,
    )


def _of_counter(naming: Naming) -> list[ColumnElement[bool]]:
    """The calls that a counter of the open window has counted."""
    limit = naming.limit
    whose = {Scope.ACCESS_TOKEN: calls.c.jti, Scope.USER: calls.c.user_id, Scope.TENANT: calls.c.tenant_id}
    here = [calls.c.tenant_id == limit.tenant_id, whose[naming.scope] == counters.c.scope_id]
    here += in_window(limit.window, naming.moment)
    return [*here, calls.c.model == limit.model] if limit.model else here


def _overshoot(naming: Naming) -> ColumnElement[int]:
    """What the calls of a counter used beyond their holds.

    A minute counts attempts, and so an expired call at once: only one whose row was lost has its request counted late.
    """
    metric, beyond = naming.limit.metric, beyond_hold(naming.limit.metric)
    if naming.limit.window is Window.MINUTE and metric is Metric.REQUESTS:
        beyond = case((is_lost(), 1), else_=0)
    ended = calls.c.state.in_(["settled", "released"])
    found = select(func.coalesce(func.sum(beyond), 0)).where(and_(*_of_counter(naming), ended))
    return found.correlate(counters).scalar_subquery()
