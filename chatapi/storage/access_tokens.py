"""Access tokens: their claims and what is said of them; never the JWT, which signing the claims again gives.

Each function runs inside its caller's transaction and commits nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, insert, select, update

from chatapi.domain.principals import AccessToken
from chatapi.storage.bulk import execute_many
from chatapi.storage.columns import Row
from chatapi.storage.tables import access_tokens


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


def insert_access_token(connection: Connection, access_token: AccessToken) -> None:
    """Keep a new access token."""
    connection.execute(
        insert(access_tokens).values(
            tenant_id=access_token.tenant_id,
            user_id=access_token.user_id,
            jti=access_token.jti,
            issued_at=access_token.issued_at,
            expires_at=access_token.expires_at,
        )
    )


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
