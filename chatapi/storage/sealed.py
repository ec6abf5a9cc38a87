"""Whatever is sealed in the database (`logic.sealing.Vault`), for sealing it anew with another encryption key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, Connection, Table, and_, func, or_, select, update

from chatapi.storage.admin_tables import upstream_keys, webhooks


@dataclass(frozen=True, slots=True)
class Shelf:
    """A table with sealed secrets; each stands in the place `<table>/<tenant's id>/<name>`."""

    table: Table
    name: Column[Any]
    sealed: Column[bytes]

    @property
    def tenant_id(self) -> Column[Any]:
        """Whose it is."""
        column: Column[Any] = self.table.c.tenant_id
        return column


SHELVES = (
    Shelf(upstream_keys, upstream_keys.c.upstream, upstream_keys.c.sealed_key),
    Shelf(webhooks, webhooks.c.id, webhooks.c.sealed_secret),
)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed secret, and where it stands."""

    shelf: Shelf
    tenant_id: str
    name: str
    content: bytes = field(repr=False)

    @property
    def place(self) -> str:
        """What it was sealed for."""
        return f"{self.shelf.table.name}/{self.tenant_id}/{self.name}"


def count(connection: Connection) -> int:
    """How many secrets there are."""
    counts = (select(func.count()).select_from(shelf.table).where(shelf.sealed != b"") for shelf in SHELVES)
    return sum(int(connection.execute(statement).scalar_one()) for statement in counts)


def page(connection: Connection, shelf: Shelf, after: tuple[str, str] | None, most: int) -> list[Sealed]:
    """Secrets of all tenants, by tenant's id and name: those behind `after`, at most so many. What is deleted is empty,
    and left out."""
    key = (shelf.tenant_id, shelf.name)
    statement = select(*key, shelf.sealed).where(shelf.sealed != b"").order_by(*key).limit(most)
    if after is not None:
        tenant_id, name = after
        behind = and_(shelf.tenant_id == tenant_id, shelf.name > name)
        statement = statement.where(or_(shelf.tenant_id > tenant_id, behind))
    return [Sealed(shelf, tenant_id, name, bytes(sealed)) for tenant_id, name, sealed in connection.execute(statement)]


def replace(connection: Connection, old: Sealed, content: bytes) -> bool:
    """Seal it anew; False where it is not the one any more that it was."""
    shelf = old.shelf
    same = (shelf.tenant_id == old.tenant_id, shelf.name == old.name, shelf.sealed == old.content)
    changed = update(shelf.table).where(*same).values({shelf.sealed.name: content})
    return connection.execute(changed.returning(shelf.name)).first() is not None
