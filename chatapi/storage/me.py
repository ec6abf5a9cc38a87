"""What users ask about themselves: who they are, what they were charged, and which calls they made.

Every query names the tenant and the user, and none reads more than a bounded number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Connection, and_, cast, func, select

from chatapi.domain.calls import CallState
from chatapi.domain.principals import Claims, Role, Status
from chatapi.domain.windows import Moment, Zone
from chatapi.storage.engine import Database
from chatapi.storage.explain import KeptCall, kept_call
from chatapi.storage.permissions import Patterns
from chatapi.storage.principals import read_patterns
from chatapi.storage.tables import access_tokens, calls, tenants, usage_days, users

LOOKED_AT = {"sqlite": 2000, "postgresql": 10_000}
"""Calls of the tenant that one page looks through for those of the user: milliseconds. An index by user would find them
at once, and cost every call of every user its upkeep."""


@dataclass(frozen=True, slots=True)
class Person:
    """A user whose access token is in force, at the moment at which it asks."""

    username: str
    role: Role
    tenant: str
    zone: str
    issued_at: datetime
    expires_at: datetime
    tenant_models: Patterns
    user_models: Patterns
    moment: Moment
    access_token_name: str | None = None
    access_token_models: Patterns = None


@dataclass(frozen=True, slots=True)
class UsageOfDay:
    """What a user was charged for one model on one local day. `cost` in nano-dollars lacks that of `unpriced` calls."""

    day: str
    model: str
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost: int
    unpriced: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some calls, newest first, and the id of the last one that was looked at; None where there are no more."""

    calls: tuple[KeptCall, ...]
    last: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which calls: older than the one of the id `before`, in a state, of a model; at most `limit` of them."""

    limit: int
    before: str | None = None
    state: CallState | None = None
    model: str | None = None


def find_person(connection: Connection, database: Database, claims: Claims) -> Person | None:
    """Who asks; None when the access token is not known, expired or revoked, or its user or tenant is not active."""
    token = and_(
        access_tokens.c.tenant_id == users.c.tenant_id,
        access_tokens.c.user_id == users.c.id,
        access_tokens.c.jti == claims.jti,
    )
    row = connection.execute(
        select(
            *(users.c.username, users.c.role, tenants.c.name, access_tokens.c.issued_at, access_tokens.c.expires_at),
            *(tenants.c.timezone, tenants.c.next_timezone, tenants.c.next_timezone_from),
            *(tenants.c.models.label("tenant_models"), users.c.models.label("user_models"), access_tokens.c.models),
            access_tokens.c.name.label("access_token_name"),
        )
        .join(tenants, tenants.c.id == users.c.tenant_id)
        .join(access_tokens, token)
        .where(users.c.tenant_id == claims.tenant_id, users.c.id == claims.user_id)
        .where(access_tokens.c.revoked_at.is_(None))
        .where(users.c.status == Status.ACTIVE.value, tenants.c.status == Status.ACTIVE.value)
    ).one_or_none()
    now = database.now(connection)
    if row is None or row.expires_at <= now:
        return None
    zone = Zone(row.timezone, row.next_timezone, row.next_timezone_from).at(now)
    return Person(
        row.username,
        Role(row.role),
        row.name,
        zone.key,
        row.issued_at,
        row.expires_at,
        None if row.tenant_models is None else read_patterns(row.tenant_models),
        None if row.user_models is None else read_patterns(row.user_models),
        Moment.at(now, zone),
        row.access_token_name,
        None if row.models is None else read_patterns(row.models),
    )


def usage_by_day(
    connection: Connection, claims: Claims, first_day: str, last_day: str, model: str | None, most: int
) -> Sequence[UsageOfDay]:
    """What the user was charged from one local day to another, both included, by day and model, from the roll-ups.

    The key is used, which begins with the user: through the index by day all users' rows of these days would be read.
    """
    day = usage_days.c.day.concat("")  # an expression, which no index has
    names = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "cost", "unpriced")
    figures = [cast(func.sum(usage_days.c[name]), BigInteger) for name in names]  # PostgreSQL would make them decimals
    statement = (
        select(day, usage_days.c.model, *figures)
        .where(usage_days.c.tenant_id == claims.tenant_id, usage_days.c.user_id == claims.user_id)
        .where(day.between(first_day, last_day))
        .group_by(day, usage_days.c.model)
        .order_by(day, usage_days.c.model)
        .limit(most)
    )
    if model is not None:
        statement = statement.where(usage_days.c.model == model)
    return [UsageOfDay(*row) for row in connection.execute(statement)]


def page_of_calls(connection: Connection, claims: Claims, wanted: Wanted) -> Page:
    """The next of the user's calls, newest first: by the tenant's key, whose ids are time-ordered.

    Of a tenant with many others' calls in between a page may have fewer calls than are wanted, and not be the last.
    """
    most = LOOKED_AT[connection.dialect.name]
    of_tenant = [calls.c.tenant_id == claims.tenant_id]
    if wanted.before is not None:
        of_tenant.append(calls.c.id < wanted.before)
    newest = select(calls.c.id).where(*of_tenant).order_by(calls.c.id.desc())
    near = newest.add_columns(calls.c.user_id, calls.c.state, calls.c.model).limit(most).subquery()
    mine = select(near.c.id).where(near.c.user_id == claims.user_id)
    if wanted.state is not None:
        mine = mine.where(near.c.state == wanted.state.value)
    if wanted.model is not None:
        mine = mine.where(near.c.model == wanted.model)
    ids = connection.execute(mine.order_by(near.c.id.desc()).limit(wanted.limit + 1)).scalars().all()
    if len(ids) > wanted.limit:
        ids = ids[: wanted.limit]
        last: str | None = ids[-1]
    else:
        last = connection.execute(newest.offset(most - 1).limit(1)).scalar()
    if not ids:
        return Page((), last)
    here = (calls.c.tenant_id == claims.tenant_id, calls.c.user_id == claims.user_id, calls.c.id.in_(ids))
    rows = connection.execute(select(calls).where(*here).order_by(calls.c.id.desc())).mappings()
    return Page(tuple(kept_call(row) for row in rows), last)
