"""Invitations: of each user at most one, known by the digest of its secret. Using or withdrawing it deletes the row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, select

from chatapi.storage.admin_tables import invitations
from chatapi.storage.bulk import batches, execute_many
from chatapi.storage.columns import Row
from chatapi.storage.given import insert_for


class KeptInvitation(NamedTuple):
    """The digest of an invitation's secret, and when it ends."""

    digest: str
    expires_at: datetime


def put(connection: Connection, tenant_id: str, user_id: str, kept: KeptInvitation) -> None:
    """Keep a user's invitation in the place of an earlier one."""
    values = {"digest": kept.digest, "expires_at": kept.expires_at}
    statement = insert_for(connection)(invitations).values(tenant_id=tenant_id, user_id=user_id, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=list(invitations.primary_key), set_=values))


def find(connection: Connection, tenant_id: str, user_id: str) -> KeptInvitation | None:
    """A user's invitation, expired or not."""
    columns = (invitations.c.digest, invitations.c.expires_at)
    here = (invitations.c.tenant_id == tenant_id, invitations.c.user_id == user_id)
    row = connection.execute(select(*columns).where(*here)).one_or_none()
    return None if row is None else KeptInvitation(*row)


def ends(connection: Connection, tenant_id: str, user_ids: Sequence[str]) -> dict[str, datetime]:
    """When the invitations of these users end, by the user's id; of those that have one."""
    columns = (invitations.c.user_id, invitations.c.expires_at)
    found: dict[str, datetime] = {}
    for some in batches(user_ids):
        here = (invitations.c.tenant_id == tenant_id, invitations.c.user_id.in_(some))
        found |= {row.user_id: row.expires_at for row in connection.execute(select(*columns).where(*here))}
    return found


def use(connection: Connection, tenant_id: str, user_id: str, digest: str) -> bool:
    """Delete this very invitation. Returns whether it was still there: of several that use it at once, one finds it."""
    here = (invitations.c.tenant_id == tenant_id, invitations.c.user_id == user_id)
    return connection.execute(delete(invitations).where(*here, invitations.c.digest == digest)).rowcount == 1


def withdraw(connection: Connection, whose: Sequence[tuple[str, str]]) -> None:
    """Delete the invitations of users, given as (tenant's id, user's id)."""
    if whose:
        matches = (
            invitations.c.tenant_id == bindparam("of_tenant"),
            invitations.c.user_id == bindparam("of_user"),
        )
        pairs: list[Row] = [{"of_tenant": tenant_id, "of_user": user_id} for tenant_id, user_id in whose]
        execute_many(connection, delete(invitations).where(*matches), pairs)
