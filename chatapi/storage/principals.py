"""Principals as they are now: is an access token in force, which day is it at its tenant's, how do its limits stand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, select

from chatapi.domain.effective_limits import Defaults, LimitRow, effective_limits
from chatapi.domain.limits import Counter, CounterKey, Metric, Scope, Standing
from chatapi.domain.principals import Claims
from chatapi.domain.windows import Moment, Window, Zone, window_end, window_key
from chatapi.storage.counters import Key
from chatapi.storage.tables import access_tokens, limits, tenants, users


def moment(connection: Connection, claims: Claims, now: datetime) -> Moment | None:
    """`now` in the time zone of the principal's tenant; None when there is no such tenant."""
    columns = (tenants.c.timezone, tenants.c.next_timezone, tenants.c.next_timezone_from)
    row = connection.execute(select(*columns).where(tenants.c.id == claims.tenant_id)).one_or_none()
    return None if row is None else Moment(now, Zone(*row).at(now))


def in_force(connection: Connection, claims: Claims, now: datetime) -> bool:
    """Whether the access token is known, neither expired nor revoked, and its user and tenant are active."""
    row = connection.execute(
        select(access_tokens.c.expires_at, access_tokens.c.revoked_at, users.c.status, tenants.c.status.label("tenant"))
        .join(users, (users.c.tenant_id == access_tokens.c.tenant_id) & (users.c.id == access_tokens.c.user_id))
        .join(tenants, tenants.c.id == access_tokens.c.tenant_id)
        .where(
            access_tokens.c.tenant_id == claims.tenant_id,
            access_tokens.c.jti == claims.jti,
            users.c.id == claims.user_id,
        )
    ).one_or_none()
    if row is None or row.revoked_at is not None or row.expires_at <= now:
        return False
    return bool(row.status == "active" and row.tenant == "active")


def standings(
    connection: Connection, defaults: Defaults, claims: Claims, found: Mapping[Key, Counter], moment: Moment
) -> list[Standing]:
    """Every limit that holds for the principal, with its numbers from the counters in `found`."""
    ids = {Scope.ACCESS_TOKEN: claims.jti, Scope.USER: claims.user_id, Scope.TENANT: claims.tenant_id}
    rows = connection.execute(
        select(limits.c.scope, limits.c.scope_id, limits.c.metric, limits.c.window, limits.c.value).where(
            limits.c.tenant_id == claims.tenant_id, limits.c.scope_id.in_(ids.values())
        )
    )
    named = [LimitRow(row.scope, row.scope_id, Metric(row.metric), Window(row.window), row.value) for row in rows]
    result = []
    for limit in effective_limits(named, defaults):
        key = CounterKey(limit.scope, ids[limit.scope], limit.window, window_key(limit.window, moment.day))
        counter = found.get((claims.tenant_id, key), Counter())
        used, held = counter.used.of(limit.metric), counter.held.of(limit.metric)
        result.append(Standing(limit, used, held, window_end(limit.window, moment.day, moment.zone), moment.now))
    return result
