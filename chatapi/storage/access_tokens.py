"""Access tokens: their claims and what is said of them; never the JWT, which signing the claims again gives.

Each function runs inside its caller's transaction and commits nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, bindparam, func, insert, select, update

from chatapi.domain.access_tokens import AccessTokenState
from chatapi.domain.limits import Scope
from chatapi.domain.principals import AccessToken
from chatapi.domain.windows import Window
from chatapi.storage.bulk import execute_many
from chatapi.storage.columns import Row
from chatapi.storage.permissions import Patterns
from chatapi.storage.principals import read_patterns
from chatapi.storage.tables import access_tokens, counters, users


@dataclass(frozen=True, slots=True)
class KeptAccessToken:
    """An access token and what is said of it. Without a name it is one that `POST /token` gave."""

    access_token: AccessToken
    username: str
    name: str | None
    models: Patterns
    revoked_at: datetime | None

    def state(self, now: datetime) -> AccessTokenState:
        """What has become of it."""
        if self.revoked_at is not None:
            return AccessTokenState.REVOKED
        return AccessTokenState.LIVE if self.access_token.expires_at > now else AccessTokenState.EXPIRED


@dataclass(frozen=True, slots=True)
class AccessTokenFilter:
    """Which access tokens: in a state, of a name; None: any."""

    state: AccessTokenState | None = None
    name: str | None = None


def find_live_access_token(connection: Connection, tenant_id: str, user_id: str, now: datetime) -> AccessToken | None:
    """The user's access token without a name, the one of `POST /token`, that is neither revoked nor expired."""
    columns = access_tokens.c
    row = connection.execute(
        select(columns.jti, columns.issued_at, columns.expires_at)
        .where(columns.tenant_id == tenant_id, columns.user_id == user_id, columns.name.is_(None))
        .where(columns.revoked_at.is_(None), columns.expires_at > now)
        .order_by(columns.issued_at.desc(), columns.jti.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else AccessToken(tenant_id, user_id, row.jti, row.issued_at, row.expires_at)


def find(connection: Connection, tenant_id: str, user_id: str, jti: str) -> KeptAccessToken | None:
    """A user's access token of this id."""
    whose = (access_tokens.c.tenant_id == tenant_id, access_tokens.c.user_id == user_id)
    row = connection.execute(_kept().where(*whose, access_tokens.c.jti == jti)).mappings().one_or_none()
    return None if row is None else _read(row)


def page(
    connection: Connection,
    tenant_id: str,
    user_id: str | None,
    wanted: AccessTokenFilter,
    now: datetime,
    *,
    after: str | None = None,
    most: int | None = None,
) -> list[KeptAccessToken]:
    """Access tokens of a user, or of a tenant, newest first.

    Args:
        connection: of the transaction.
        tenant_id: the tenant.
        user_id: the user; None: all of the tenant.
        wanted: which of them.
        now: what is live is so at this instant.
        after: the id of the last one of the page before.
        most: how many at most; None: all.
    """
    columns = access_tokens.c
    statement = _kept().where(columns.tenant_id == tenant_id).order_by(columns.jti.desc())
    if user_id is not None:
        statement = statement.where(columns.user_id == user_id)
    if wanted.state is not None:
        statement = statement.where(*_in_state(wanted.state, now))
    if wanted.name is not None:
        statement = statement.where(columns.name == wanted.name)
    if after is not None:
        statement = statement.where(columns.jti < after)
    return [_read(row) for row in connection.execute(statement.limit(most)).mappings()]


def live_names(connection: Connection, tenant_id: str, user_id: str, now: datetime) -> set[str]:
    """The names of a user's access tokens that are live."""
    columns = access_tokens.c
    statement = select(columns.name).where(columns.tenant_id == tenant_id, columns.user_id == user_id)
    statement = statement.where(columns.name.is_not(None), *_in_state(AccessTokenState.LIVE, now))
    return set(connection.execute(statement).scalars())


def named_since(connection: Connection, tenant_id: str, user_id: str, since: datetime) -> int:
    """How many access tokens with names a user has been given since an instant, whatever became of them."""
    columns = access_tokens.c
    statement = select(func.count()).where(columns.tenant_id == tenant_id, columns.user_id == user_id)
    return connection.execute(statement.where(columns.name.is_not(None), columns.issued_at > since)).scalar_one()


def last_used(connection: Connection, tenant_id: str, jtis: Collection[str]) -> dict[str, str]:
    """The last local day, as YYYY-MM-DD, on which calls were made with these access tokens (a thousand or so).

    From their counters, which are kept anyway: nothing is written for it.
    """
    day = func.max(counters.c.window_key)
    statement = (
        select(counters.c.scope_id, day)
        .where(counters.c.tenant_id == tenant_id, counters.c.scope == Scope.ACCESS_TOKEN.value)
        .where(counters.c.scope_id.in_(jtis), counters.c.window == Window.DAY.value, counters.c.model == "")
        .group_by(counters.c.scope_id)
    )
    return {row[0]: row[1] for row in connection.execute(statement)}


def insert_access_token(
    connection: Connection, access_token: AccessToken, name: str | None = None, models: Sequence[str] | None = None
) -> None:
    """Keep a new access token; with a name where it is not the one of `POST /token`."""
    connection.execute(
        insert(access_tokens).values(
            tenant_id=access_token.tenant_id,
            user_id=access_token.user_id,
            jti=access_token.jti,
            issued_at=access_token.issued_at,
            expires_at=access_token.expires_at,
            name=name,
            models=None if models is None else orjson.dumps(list(models)).decode(),
        )
    )


def revoke(connection: Connection, tenant_id: str, jti: str, now: datetime) -> bool:
    """Revoke an access token. Returns whether it had not been revoked before."""
    this = (access_tokens.c.tenant_id == tenant_id, access_tokens.c.jti == jti, access_tokens.c.revoked_at.is_(None))
    return connection.execute(update(access_tokens).where(*this).values(revoked_at=now)).rowcount > 0


def revoke_of_users(connection: Connection, whose: Sequence[tuple[str, str]], now: datetime) -> None:
    """Revoke all access tokens of users, named ones too; the users are given as (tenant's id, user's id)."""
    if whose:
        matches = (
            access_tokens.c.tenant_id == bindparam("of_tenant"),
            access_tokens.c.user_id == bindparam("of_user"),
            access_tokens.c.revoked_at.is_(None),
        )
        pairs: list[Row] = [{"of_tenant": tenant_id, "of_user": user_id} for tenant_id, user_id in whose]
        execute_many(connection, update(access_tokens).where(*matches).values(revoked_at=now), pairs)


def revoke_of_tenant(connection: Connection, tenant_id: str, now: datetime) -> int:
    """Revoke all access tokens of a tenant. Returns how many there were."""
    unrevoked = (access_tokens.c.tenant_id == tenant_id, access_tokens.c.revoked_at.is_(None))
    return connection.execute(update(access_tokens).where(*unrevoked).values(revoked_at=now)).rowcount


def _in_state(state: AccessTokenState, now: datetime) -> tuple[ColumnElement[bool], ...]:
    columns = access_tokens.c
    if state is AccessTokenState.REVOKED:
        return (columns.revoked_at.is_not(None),)
    lives = columns.expires_at > now
    return columns.revoked_at.is_(None), lives if state is AccessTokenState.LIVE else ~lives


def _kept() -> Select[tuple[object, ...]]:
    owner = and_(users.c.tenant_id == access_tokens.c.tenant_id, users.c.id == access_tokens.c.user_id)
    return select(access_tokens, users.c.username).join(users, owner)


def _read(row: RowMapping) -> KeptAccessToken:
    claims = ("tenant_id", "user_id", "jti", "issued_at", "expires_at")
    models = None if row["models"] is None else read_patterns(row["models"])
    kept = AccessToken(**{name: row[name] for name in claims})
    return KeptAccessToken(kept, row["username"], row["name"], models, row["revoked_at"])
