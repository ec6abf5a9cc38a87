"""What alerts are found from: the people of a tenant, their limits with what was granted, and counters.

Everything is read by keys, a bounded number of people at a time: counters of windows that are over are never read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from chatapi.domain.effective_limits import Granted, LimitRow, LimitScope
from chatapi.domain.limits import Metric, Scope
from chatapi.domain.windows import KEPT, Moment, Window, Zone, window_key
from chatapi.storage.admin_tables import grants
from chatapi.storage.bulk import batches
from chatapi.storage.limits import find_limits
from chatapi.storage.tables import access_tokens, limits, tenants, users


@dataclass(frozen=True, slots=True)
class WatchedTenant:
    """A tenant, and the moment at which it is looked at."""

    id: str
    name: str
    moment: Moment


@dataclass(frozen=True, slots=True)
class User:
    """A user, as far as an alert names it."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token that has limits of its own, and its user. Its name is None where `POST /token` gave it."""

    jti: str
    name: str | None
    user: User


def find_tenant(connection: Connection, tenant_id: str, now: datetime) -> WatchedTenant | None:
    """A tenant at this instant."""
    row = connection.execute(select(tenants).where(tenants.c.id == tenant_id)).mappings().one_or_none()
    if row is None:
        return None
    zone = Zone(row["timezone"], row["next_timezone"], row["next_timezone_from"]).at(now)
    return WatchedTenant(row["id"], row["name"], Moment.at(now, zone))


def users_after(connection: Connection, tenant_id: str, after: str | None, most: int) -> list[User]:
    """A tenant's next users by their ids, whatever their status: what they used counts."""
    statement = select(users.c.id, users.c.username).where(users.c.tenant_id == tenant_id)
    if after is not None:
        statement = statement.where(users.c.id > after)
    return [User(row.id, row.username) for row in connection.execute(statement.order_by(users.c.id).limit(most))]


def find_users(connection: Connection, tenant_id: str, user_ids: Iterable[str]) -> list[User]:
    """Users of a tenant by their ids."""
    return [
        User(row.id, row.username)
        for some in batches(sorted(set(user_ids)))
        for row in connection.execute(
            select(users.c.id, users.c.username).where(users.c.tenant_id == tenant_id, users.c.id.in_(some))
        )
    ]


def limited_access_tokens(
    connection: Connection, tenant_id: str, *, after: str | None = None, most: int | None = None
) -> list[str]:
    """The ids of access tokens that have limits of their own per day or month, in their order."""
    here = (limits.c.tenant_id == tenant_id, limits.c.scope == LimitScope.ACCESS_TOKEN.value, limits.c.window.in_(KEPT))
    statement = select(limits.c.scope_id).distinct().where(*here)
    if after is not None:
        statement = statement.where(limits.c.scope_id > after)
    return list(connection.execute(statement.order_by(limits.c.scope_id).limit(most)).scalars())


def find_access_tokens(connection: Connection, tenant_id: str, jtis: Iterable[str]) -> list[AccessToken]:
    """Access tokens of a tenant by their ids, with their users."""
    statement = (
        select(access_tokens.c.jti, access_tokens.c.name, users.c.id, users.c.username)
        .join(users, (users.c.tenant_id == access_tokens.c.tenant_id) & (users.c.id == access_tokens.c.user_id))
        .where(access_tokens.c.tenant_id == tenant_id)
    )
    return [
        AccessToken(row.jti, row.name, User(row.id, row.username))
        for some in batches(sorted(set(jtis)))
        for row in connection.execute(statement.where(access_tokens.c.jti.in_(some)))
    ]


def limits_of(
    connection: Connection, tenant_id: str, scopes: Sequence[LimitScope], scope_ids: Collection[str] | None = None
) -> list[LimitRow]:
    """Limits that were set per day and month."""
    given = [None] if scope_ids is None else list(batches(sorted(scope_ids)))
    return [
        row
        for some in given
        for row in find_limits(connection, tenant_id, scopes=scopes, scope_ids=some)
        if row.window in KEPT
    ]


def grants_of(
    connection: Connection, tenant_id: str, scope_ids: Collection[str], moment: Moment
) -> dict[tuple[Scope, str], list[Granted]]:
    """What was granted to these for the windows that are open, by scope and id."""
    keys = [window_key(window, moment.day) for window in KEPT]
    found: dict[tuple[Scope, str], list[Granted]] = {}
    for some in batches(sorted(scope_ids)):
        statement = select(grants).where(
            grants.c.tenant_id == tenant_id,
            grants.c.scope_id.in_(some),
            grants.c.window_key.in_(keys),
            grants.c.withdrawn_at.is_(None),
        )
        for row in connection.execute(statement):
            place = (Scope(row.scope), Metric(row.metric), Window(row.window), row.model)
            found.setdefault((place[0], row.scope_id), []).append(Granted(*place, row.value))
    return found
