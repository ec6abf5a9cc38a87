"""Webhooks as they are kept. Each function runs inside its caller's transaction and commits nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, RowMapping, func, insert, select, update

from chatapi.storage.admin_tables import webhooks
from chatapi.storage.tables import tenants

ACTIVE, DISABLED, DELETED = "active", "disabled", "deleted"


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook: where it goes, which shares of limits (percent) it is told, and whether it is told anything."""

    tenant_id: str
    id: str
    url: str
    shares: tuple[int, ...]
    status: str
    created_at: datetime
    sealed_secret: bytes = field(repr=False)


def add(connection: Connection, webhook: Webhook) -> None:
    """Keep a new webhook."""
    connection.execute(
        insert(webhooks).values(
            tenant_id=webhook.tenant_id,
            id=webhook.id,
            url=webhook.url,
            shares=orjson.dumps(webhook.shares).decode(),
            status=webhook.status,
            created_at=webhook.created_at,
            sealed_secret=webhook.sealed_secret,
        )
    )


def find(connection: Connection, tenant_id: str, webhook_id: str, *, lock: bool = False) -> Webhook | None:
    """A webhook that was not deleted; with `lock` for changing it in this transaction."""
    statement = select(webhooks).where(
        webhooks.c.tenant_id == tenant_id, webhooks.c.id == webhook_id, webhooks.c.status != DELETED
    )
    row = connection.execute(statement.with_for_update() if lock else statement).mappings().one_or_none()
    return None if row is None else _webhook(row)


def page(connection: Connection, tenant_id: str, after: str | None, most: int) -> list[Webhook]:
    """A tenant's webhooks in the order in which they were made, those after an id."""
    statement = select(webhooks).where(webhooks.c.tenant_id == tenant_id, webhooks.c.status != DELETED)
    if after is not None:
        statement = statement.where(webhooks.c.id > after)
    return [_webhook(row) for row in connection.execute(statement.order_by(webhooks.c.id).limit(most)).mappings()]


def count(connection: Connection, tenant_id: str) -> int:
    """How many webhooks a tenant has."""
    statement = select(func.count()).where(webhooks.c.tenant_id == tenant_id, webhooks.c.status != DELETED)
    return connection.execute(statement).scalar_one()


def active_of(connection: Connection, tenant_id: str) -> list[Webhook]:
    """A tenant's webhooks that are told."""
    statement = select(webhooks).where(webhooks.c.tenant_id == tenant_id, webhooks.c.status == ACTIVE)
    return [_webhook(row) for row in connection.execute(statement.order_by(webhooks.c.id)).mappings()]


def watched_tenants(connection: Connection) -> Sequence[str]:
    """The tenants that have a webhook which is told, sorted. Tenants that are closed have none."""
    statement = (
        select(webhooks.c.tenant_id)
        .distinct()
        .join(tenants, tenants.c.id == webhooks.c.tenant_id)
        .where(webhooks.c.status == ACTIVE, tenants.c.status != "closed")
        .order_by(webhooks.c.tenant_id)
    )
    return connection.execute(statement).scalars().all()


def change(connection: Connection, tenant_id: str, webhook_id: str, **values: Any) -> None:
    """Set columns of a webhook."""
    if "shares" in values:
        values["shares"] = orjson.dumps(values["shares"]).decode()
    here = (webhooks.c.tenant_id == tenant_id, webhooks.c.id == webhook_id)
    connection.execute(update(webhooks).where(*here).values(values))


def disable(connection: Connection, tenant_id: str, webhook_id: str, url: str) -> bool:
    """Tell a webhook nothing more; False where it is not told anything, or is elsewhere, by now."""
    here = (webhooks.c.tenant_id == tenant_id, webhooks.c.id == webhook_id, webhooks.c.url == url)
    changed = update(webhooks).where(*here, webhooks.c.status == ACTIVE).values(status=DISABLED)
    return connection.execute(changed.returning(webhooks.c.id)).first() is not None


def _webhook(row: RowMapping) -> Webhook:
    values: dict[str, Any] = {str(name): value for name, value in row.items()}
    values["shares"] = tuple(orjson.loads(values["shares"]))
    return Webhook(**values)
