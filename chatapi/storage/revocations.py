"""Revocations: which of those who have calls under way are no longer to be served."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from sqlalchemy import Connection, select, tuple_

from chatapi.domain.principals import Claims, Status
from chatapi.storage.engine import Database
from chatapi.storage.tables import access_tokens, tenants, users

BATCH = 100


def revoked(database: Database, principals: Iterable[Claims]) -> set[Claims]:
    """Those of `principals` whose access token was revoked, or whose user or tenant is not active.

    An access token that has only expired is not among them: what was admitted in time may end in time.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    asked = iter(dict.fromkeys(principals))
    gone: set[Claims] = set()
    while batch := list(islice(asked, BATCH)):
        with database.read() as connection:
            gone.update(set(batch).difference(_served(connection, batch)))
    return gone


def _served(connection: Connection, principals: list[Claims]) -> Iterator[Claims]:
    whose = [(claims.tenant_id, claims.jti) for claims in principals]
    rows = connection.execute(
        select(access_tokens.c.tenant_id, access_tokens.c.user_id, access_tokens.c.jti)
        .join(users, (users.c.tenant_id == access_tokens.c.tenant_id) & (users.c.id == access_tokens.c.user_id))
        .join(tenants, tenants.c.id == access_tokens.c.tenant_id)
        .where(
            tuple_(access_tokens.c.tenant_id, access_tokens.c.jti).in_(whose),
            access_tokens.c.revoked_at.is_(None),
            users.c.status == Status.ACTIVE.value,
            tenants.c.status == Status.ACTIVE.value,
        )
    )
    return (Claims(row.tenant_id, row.user_id, row.jti) for row in rows)
