"""Tenants' own keys for upstreams, sealed. Each function runs inside its caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, delete, select

from chatapi.domain.calls import OwnKeys
from chatapi.storage.admin_tables import upstream_keys
from chatapi.storage.given import insert_for

keys = upstream_keys.c


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A key as it is kept."""

    tenant_id: str
    upstream: str
    set_at: datetime
    sealed: bytes = field(repr=False)


def put(connection: Connection, key: SealedKey) -> None:
    """Keep a key, instead of the one that was there."""
    row = {"tenant_id": key.tenant_id, "upstream": key.upstream, "sealed_key": key.sealed, "set_at": key.set_at}
    changed = {"sealed_key": key.sealed, "set_at": key.set_at}
    statement = insert_for(connection)(upstream_keys).values(row)
    connection.execute(statement.on_conflict_do_update(index_elements=["tenant_id", "upstream"], set_=changed))


def remove(connection: Connection, tenant_id: str, upstream: str) -> None:
    """Forget a key."""
    connection.execute(delete(upstream_keys).where(keys.tenant_id == tenant_id, keys.upstream == upstream))


def of_tenant(connection: Connection, tenant_id: str, *, after: str = "", most: int | None = None) -> list[SealedKey]:
    """A tenant's keys, by upstream: those behind `after`, at most so many."""
    statement = select(upstream_keys).where(keys.tenant_id == tenant_id, keys.upstream > after).order_by(keys.upstream)
    return _read(connection, statement.limit(most))


def find(connection: Connection, tenant_id: str, upstream: str) -> SealedKey | None:
    """A tenant's key for an upstream, for changing it in this transaction."""
    statement = select(upstream_keys).where(keys.tenant_id == tenant_id, keys.upstream == upstream)
    return next(iter(_read(connection, statement.with_for_update())), None)


def sealed_of(connection: Connection, tenant_id: str) -> OwnKeys:
    """A tenant's keys as an admission reads them."""
    found = of_tenant(connection, tenant_id)
    return tuple(sorted((key.upstream, key.sealed.decode()) for key in found))


def _read(connection: Connection, statement: Select[Any]) -> list[SealedKey]:
    rows = connection.execute(statement).mappings()
    return [SealedKey(row["tenant_id"], row["upstream"], row["set_at"], bytes(row["sealed_key"])) for row in rows]
