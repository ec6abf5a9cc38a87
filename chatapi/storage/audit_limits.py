"""Invariant I1 on a live database: what the open windows have used and hold, against the limits in force."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from functools import cache
from itertools import product
from zoneinfo import ZoneInfo

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Text,
    and_,
    bindparam,
    case,
    func,
    literal,
    or_,
    select,
)

from chatapi.domain.effective_limits import Defaults
from chatapi.domain.limits import Metric, Scope
from chatapi.domain.windows import KEPT, Window, local_day, window_key
from chatapi.storage.columns import Row, UtcDateTime
from chatapi.storage.grants import granted_to_counter
from chatapi.storage.tables import calls, counters, limits, tenants

Place = tuple[Scope, Metric, Window]


def open_zones(connection: Connection, now: datetime) -> tuple[str, ...]:
    """The time zones in which tenants live at `now`."""
    return tuple(sorted(connection.execute(_zones(), {"now": now}).scalars()))


def limited_places(connection: Connection, defaults: Defaults) -> list[Place]:
    """Where counters that are always kept have a limit: no others can be above theirs, and so need not be gone through.

    Args:
        connection: to the ledger.
        defaults: the limits of users for whom no other is set.
    """
    rows = connection.execute(_set_somewhere()).all()
    named = {("user" if scope == "each_user" else scope, metric, window) for scope, metric, window in rows}
    named |= {("user", metric.value, window.value) for metric, window in defaults}
    places = product(Scope, Metric, KEPT)
    return [place for place in places if tuple(part.value for part in place) in named]


@cache
def _set_somewhere() -> Select[str, str, str]:
    found = select(limits.c.scope, limits.c.metric, limits.c.window).distinct()
    return found.where(limits.c.model == "", limits.c.value.is_not(None))


def open_windows(zones: tuple[str, ...], place: Place, defaults: Defaults, now: datetime) -> Row:
    """The parameters of `broken_limits`: the default, and for each zone the open window's key and beginning."""
    scope, metric, window = place
    parameters: Row = {"now": now, "default": defaults.get((metric, window)) if scope is Scope.USER else None}
    for position, zone in enumerate(zones):
        parameters[f"key_{position}"], parameters[f"opened_at_{position}"] = opened(zone, now, window)
    return parameters


def broken_limits(zones: tuple[str, ...], place: Place) -> Select[Row]:
    """The counters of open windows with `used + held` above the limit and above what calls used beyond their holds.

    The limit in force is chosen as `domain/effective_limits` has it: the scope's own, for a user else its tenant's
    `each_user`, else the default; and besides all that was granted for the window, even if it has been withdrawn since.
    One that was set since the window opened proves nothing about earlier admissions and is skipped. A default, or a
    limit that was withdrawn, carries no date.
    """
    scope, metric, window = place
    windows = _open_windows(zones)
    own, each = limits.alias("own"), limits.alias("each")
    default = bindparam("default", type_=BigInteger())
    value = case(
        (own.c.tenant_id.is_not(None), own.c.value), (each.c.tenant_id.is_not(None), each.c.value), else_=default
    )
    changed_at = func.coalesce(own.c.changed_at, each.c.changed_at, type_=UtcDateTime())
    used, held = counters.c[f"{metric}_used"], counters.c[f"{metric}_held"]
    whole = value + granted_to_counter(metric)
    inherited = "each_user" if scope is Scope.USER else "nobody inherits"
    here = and_(windows.c.tenant_id == counters.c.tenant_id, windows.c.key == counters.c.window_key)
    source = (
        counters.join(windows, here)
        .outerjoin(own, _limit_row(own, scope.value, counters.c.scope_id, place))
        .outerjoin(each, _limit_row(each, inherited, counters.c.tenant_id, place))
    )
    return (
        select(counters.c.tenant_id, counters.c.scope, counters.c.scope_id, counters.c.window, counters.c.window_key)
        .add_columns(
            literal(metric.value).label("metric"), whole.label("limit"), used.label("used"), held.label("held")
        )
        .select_from(source)
        .where(counters.c.scope == scope.value, counters.c.window == window.value, counters.c.model == "")
        .where(used + held > value)
        .where(or_(changed_at.is_(None), changed_at < windows.c.opened_at))
        .where(used + held > whole + _overshoot(scope, metric, window))
    )


def _limit_row(row: FromClause, scope: str, scope_id: ColumnElement[str], place: Place) -> ColumnElement[bool]:
    _, metric, window = place
    return and_(
        row.c.tenant_id == counters.c.tenant_id,
        row.c.scope == scope,
        row.c.scope_id == scope_id,
        row.c.metric == metric.value,
        row.c.window == window.value,
        row.c.model == "",
    )


def _overshoot(scope: Scope, metric: Metric, window: Window) -> ColumnElement[int]:
    """What the calls of a counter used beyond their holds."""
    day = calls.c.day if window is Window.DAY else func.substr(calls.c.day, 1, 7)
    here = [calls.c.tenant_id == counters.c.tenant_id, day == counters.c.window_key, calls.c.state == "settled"]
    if scope is not Scope.TENANT:
        here.append((calls.c.user_id if scope is Scope.USER else calls.c.jti) == counters.c.scope_id)
    return select(func.coalesce(func.sum(beyond_hold(metric)), 0)).where(*here).correlate(counters).scalar_subquery()


def beyond_hold(metric: Metric) -> ColumnElement[int]:
    """What a call that ended used beyond its hold.

    Truth that came after the hold had left the counters is such a use: of an expired call the request, which expiry
    does not count; of a call whose row was lost and written again all.
    """
    late = and_(calls.c.expired_at.is_not(None), calls.c.answered)
    tokens, hold = calls.c.prompt_tokens + calls.c.completion_tokens, calls.c.prompt_bound + calls.c.completion_granted
    cost, bound = calls.c.cost, calls.c.cost_bound
    return {
        Metric.REQUESTS: case((late, 1), else_=0),
        Metric.TOKENS: case((is_lost(), tokens), (tokens > hold, tokens - hold), else_=0),
        Metric.COST: case((is_lost(), cost), (cost > bound, cost - bound), else_=0),
    }[metric]


def is_lost() -> ColumnElement[bool]:
    """Whether a call's row was lost and written again by its end: it expired at the instant at which it ended."""
    return and_(calls.c.expired_at.is_not(None), calls.c.expired_at == calls.c.ended_at)


@cache
def zone_names() -> Select[str, str]:
    """Each tenant's id, and its time zone at `now`, after the one that this followed where there was one."""
    return select(tenants.c.id, _zone())


@cache
def _zones() -> Select[str]:
    return select(_zone()).distinct()


def _zone() -> ColumnElement[str]:
    """The time zone in force, after the one that it followed where there was one: what was used then counts on."""
    changed = tenants.c.next_timezone_from <= bindparam("now", type_=UtcDateTime())
    return case((changed, tenants.c.timezone + " " + tenants.c.next_timezone), else_=tenants.c.timezone)


def _open_windows(zones: tuple[str, ...]) -> CTE:
    """For each tenant the key of its open window and the instant (UTC) at which that opened."""
    key = case({zone: bindparam(f"key_{position}", type_=Text()) for position, zone in enumerate(zones)}, value=_zone())
    opened_at = case(
        {zone: bindparam(f"opened_at_{position}", type_=UtcDateTime()) for position, zone in enumerate(zones)},
        value=_zone(),
    )
    return select(tenants.c.id.label("tenant_id"), key.label("key"), opened_at.label("opened_at")).cte("open_windows")


def opened(names: str, now: datetime, window: Window) -> tuple[str, datetime]:
    """The key of the open day's or month's window in the last of these time zones, and when it first opened."""
    zones = [ZoneInfo(name) for name in names.split()]
    day = local_day(now, zones[-1])
    first = date.fromisoformat(day)
    first = first if window is Window.DAY else first.replace(day=1)
    return window_key(window, day), min(datetime.combine(first, time(), tzinfo=zone).astimezone(UTC) for zone in zones)
