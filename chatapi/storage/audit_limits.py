"""Invariant I1 on a live database: what the open windows have used and hold, against the limits in force."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from sqlalchemy import CTE, ColumnElement, Connection, Select, and_, case, func, literal, null, or_, select, union_all

from chatapi.domain.effective_limits import Defaults
from chatapi.domain.limits import Metric, Scope
from chatapi.domain.windows import Window, local_day, window_key
from chatapi.storage.tables import Row, UtcDateTime, calls, counters, limits, tenants

Place = tuple[Scope, Metric, Window]


def broken_limits(connection: Connection, defaults: Defaults, now: datetime, place: Place) -> Select[Row]:
    """The counters of open windows with `used + held` above the limit and above what calls used beyond their holds.

    The limit in force is chosen as `domain/effective_limits` has it: the scope's own, for a user else its tenant's
    `each_user`, else the default. One that was set since the window opened proves nothing about earlier admissions and is
    skipped. A default, or a limit that was withdrawn, carries no date.
    """
    scope, metric, window = place
    open_windows = _open_windows(connection, now, window)
    own, each = limits.alias("own"), limits.alias("each")
    value = case((own.c.tenant_id.is_not(None), own.c.value), else_=null())
    changed_at: ColumnElement[datetime | None] = own.c.changed_at
    if scope is Scope.USER:
        default = defaults.get((metric, window))
        inherited = (each.c.tenant_id.is_not(None), each.c.value)
        value = case((own.c.tenant_id.is_not(None), own.c.value), inherited, else_=null() if default is None else literal(default))
        changed_at = func.coalesce(own.c.changed_at, each.c.changed_at, type_=UtcDateTime())
    used, held = counters.c[f"{metric}_used"], counters.c[f"{metric}_held"]
    source = (
        counters.join(open_windows, and_(open_windows.c.tenant_id == counters.c.tenant_id, open_windows.c.key == counters.c.window_key))
        .outerjoin(own, _limit_row(own.c, scope.value, counters.c.scope_id, place))
        .outerjoin(each, _limit_row(each.c, "each_user", counters.c.tenant_id, place))
    )
    return (
        select(counters.c.tenant_id, counters.c.scope, counters.c.scope_id, counters.c.window, counters.c.window_key)
        .add_columns(literal(metric.value).label("metric"), value.label("limit"), used.label("used"), held.label("held"))
        .select_from(source)
        .where(counters.c.scope == scope.value, counters.c.window == window.value, used + held > value)
        .where(or_(changed_at.is_(None), changed_at <= open_windows.c.opened_at))
        .where(used + held > value + _overshoot(scope, metric, window))
    )


def _limit_row(row: Iterable[object], scope: str, scope_id: ColumnElement[str], place: Place) -> ColumnElement[bool]:
    _, metric, window = place
    columns = row
    return and_(
        columns.tenant_id == counters.c.tenant_id,  # type: ignore[attr-defined]
        columns.scope == scope,  # type: ignore[attr-defined]
        columns.scope_id == scope_id,  # type: ignore[attr-defined]
        columns.metric == metric.value,  # type: ignore[attr-defined]
        columns.window == window.value,  # type: ignore[attr-defined]
    )


def _overshoot(scope: Scope, metric: Metric, window: Window) -> ColumnElement[int]:
    """What the calls of a counter used beyond their holds.

    Truth that came after the hold had left the counters is such a use: of an expired call the request, which expiry does
    not count; of a call whose row was lost and written again (it expired at the instant at which it ended) all of it.
    """
    late = calls.c.expired_at.is_not(None)
    lost = and_(late, calls.c.expired_at == calls.c.ended_at)
    tokens, hold = calls.c.prompt_tokens + calls.c.completion_tokens, calls.c.prompt_bound + calls.c.completion_granted
    beyond = {
        Metric.REQUESTS: case((and_(late, calls.c.answered), 1), else_=0),
        Metric.TOKENS: case((lost, tokens), (tokens > hold, tokens - hold), else_=0),
    }[metric]
    day = calls.c.day if window is Window.DAY else func.substr(calls.c.day, 1, 7)
    here = [calls.c.tenant_id == counters.c.tenant_id, day == counters.c.window_key, calls.c.state == "settled"]
    if scope is not Scope.TENANT:
        here.append((calls.c.user_id if scope is Scope.USER else calls.c.jti) == counters.c.scope_id)
    return select(func.coalesce(func.sum(beyond), 0)).where(*here).correlate(counters).scalar_subquery()


def _open_windows(connection: Connection, now: datetime, window: Window) -> CTE:
    """For each tenant the key of its open window and the instant (UTC) at which that opened."""
    zone = case((tenants.c.next_timezone_from <= now, tenants.c.next_timezone), else_=tenants.c.timezone)
    opened = [_opened(str(name), now, window) for name in connection.execute(select(zone).distinct()).scalars()]
    rows = [
        select(tenants.c.id.label("tenant_id"), literal(key).label("key"), literal(opened_at, UtcDateTime()).label("opened_at")).where(
            zone == name
        )
        for name, key, opened_at in opened
    ]
    nothing = select(tenants.c.id.label("tenant_id"), tenants.c.name.label("key"), tenants.c.created_at.label("opened_at")).where(literal(False))
    return union_all(nothing, *rows).cte(f"open_{window}s")


def _opened(name: str, now: datetime, window: Window) -> tuple[str, str, datetime]:
    zone = ZoneInfo(name)
    day = local_day(now, zone)
    first = date.fromisoformat(day)
    first = first if window is Window.DAY else first.replace(day=1)
    return name, window_key(window, day), datetime.combine(first, time(), tzinfo=zone).astimezone(UTC)
