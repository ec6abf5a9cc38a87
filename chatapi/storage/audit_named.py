"""Invariants I1 and I2 for the counters that are kept only because a limit names them: of a minute, of calls in flight,
of one model.

Nothing else says which of them should be there, so the limits are gone through one by one: there is one statement for
each counter that they name, and one for each limit. Only the window that is open is looked at: what an earlier one
counted may have begun before the limit was set.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
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
from chatapi.storage.audit_first import first_of
from chatapi.storage.audit_limits import beyond_hold, is_lost, opened, zone_names
from chatapi.storage.columns import Row, UtcDateTime
from chatapi.storage.counters import COLUMNS
from chatapi.storage.grants import granted_to_counter
from chatapi.storage.limits import LimitChange
from chatapi.storage.seeding import PLACE, Kind, from_calls, given, in_window, values_of
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
    def kind(self) -> Kind:
        """What the statements about its counters depend on."""
        return Kind.of(self.limit)

    @property
    def values(self) -> Row:
        """The parameters of those statements."""
        own: Row = {"value": self.value, "changed_at": self.changed_at}
        return own | values_of(self.limit, self.moment)

    @property
    def counter(self) -> tuple[str, ...]:
        """What tells its counters from those that other limits name."""
        limit = self.limit
        return limit.tenant_id, limit.scope.value, limit.scope_id, limit.window.value, limit.model

    @property
    def proves(self) -> bool:
        """Whether it held for all that the open window has counted; of calls in flight each one is looked at."""
        return self.opened_at is None or self.changed_at < self.opened_at


def named_checks(connection: Connection, now: datetime) -> Iterator[tuple[str, str, Select[Row], Row]]:
    """Of which invariant, its rule, the statement that finds what breaks it, and its parameters."""
    seen = set()
    for naming in _namings(connection, now):
        kind, metric = naming.kind, naming.limit.metric
        if naming.counter not in seen:
            seen.add(naming.counter)
            yield "I2", UNLIKE, first_of(_unlike_calls, kind), naming.values
        if naming.value is not None and naming.proves:
            of_model = " with one model" if kind.of_model else ""
            what = f"{metric}{of_model} of a {kind.scope} and {kind.window}"
            rule = f"{what} stay within the limit, but for what calls used beyond their holds"
            yield "I1", rule, first_of(_above, kind, metric), naming.values


def _namings(connection: Connection, now: datetime) -> Iterator[Naming]:
    zones = {row[0]: row[1] for row in connection.execute(zone_names(), {"now": now})}
    for row in connection.execute(_naming_limits()).all():
        yield _naming(row, zones[row.tenant_id], now)


@cache
def _naming_limits() -> Select[Any]:
    names = or_(limits.c.window.not_in([window.value for window in KEPT]), limits.c.model != "")
    return select(limits).where(names).order_by(*limits.primary_key)


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


def _unlike_calls(kind: Kind) -> Select[Row]:
    """Adds up what calls say and takes away what counters say: whatever is left over is wrong, on either side."""
    by_calls = from_calls(kind).subquery()
    sides = [
        select(*(table.c[name] for name in PLACE), *_figures(table, "calls"), *_figures(table, "counter")).where(*where)
        for table, where in ((by_calls, ()), (counters, _here(kind)))
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


def _here(kind: Kind) -> list[ColumnElement[bool]]:
    """The counters of the open window that the limit names."""
    here = [counters.c.scope == kind.scope.value, counters.c.window == kind.window.value]
    here += [counters.c[name] == given(name) for name in ("tenant_id", "window_key", "model")]
    return here if kind.whose is LimitScope.EACH_USER else [*here, counters.c.scope_id == given("scope_id")]


def _above(kind: Kind, metric: Metric) -> Select[Row]:
    """The counters with `used + held` above the limit, with all that was granted besides for the window, and above what
    calls used beyond their holds.

    Of calls in flight nothing is used, and those that were admitted before the limit was set prove nothing about it.
    """
    used, held, value = (
        counters.c[f"{metric}_used"],
        counters.c[f"{metric}_held"],
        bindparam("value", type_=BigInteger()),
    )
    whole = value + granted_to_counter(metric) if kind.window in KEPT else value
    figures = (literal(metric.value).label("metric"), whole.label("limit"), used.label("used"))
    where = [*_here(kind), used + held > value]
    if kind.whose is LimitScope.EACH_USER:
        where.append(counters.c.scope_id.not_in(_with_limits_of_their_own(kind, metric)))
    if kind.window is Window.AT_ONCE:
        older = exists().where(*_of_counter(kind), calls.c.admitted_at <= bindparam("changed_at", type_=UtcDateTime()))
        where.append(not_(older.correlate(counters)))
    else:
        where.append(used + held > whole + _overshoot(kind, metric))
    return select(*(counters.c[name] for name in PLACE), *figures, held.label("held")).where(*where)


def _with_limits_of_their_own(kind: Kind, metric: Metric) -> Select[str]:
    return select(limits.c.scope_id).where(
        limits.c.tenant_id == given("tenant_id"),
        limits.c.scope == LimitScope.USER.value,
        limits.c.metric == metric.value,
        limits.c.window == kind.window.value,
        limits.c.model == given("model"),
    )


def _of_counter(kind: Kind) -> list[ColumnElement[bool]]:
    """The calls that a counter of the open window has counted."""
    whose = {Scope.ACCESS_TOKEN: calls.c.jti, Scope.USER: calls.c.user_id, Scope.TENANT: calls.c.tenant_id}
    here = [calls.c.tenant_id == given("tenant_id"), whose[kind.scope] == counters.c.scope_id, *in_window(kind.window)]
    return [*here, calls.c.model == given("model")] if kind.of_model else here


def _overshoot(kind: Kind, metric: Metric) -> ColumnElement[int]:
    """What the calls of a counter used beyond their holds.

    A minute counts attempts, and so an expired call at once: only one whose row was lost has its request counted late.
    """
    beyond = beyond_hold(metric)
    if kind.window is Window.MINUTE and metric is Metric.REQUESTS:
        beyond = case((is_lost(), 1), else_=0)
    ended = calls.c.state.in_(["settled", "released"])
    found = select(func.coalesce(func.sum(beyond), 0)).where(and_(*_of_counter(kind), ended))
    return found.correlate(counters).scalar_subquery()
