"""Permissions as they are kept: with a tenant and with a user, so that an admission reads them with the rest of it."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from sqlalchemy import Connection, and_, select, update

from chatapi.storage.principals import read_patterns
from chatapi.storage.tables import tenants, users

Patterns = tuple[str, ...] | None  # of models; None: all


def set_models(connection: Connection, tenant_id: str, user_id: str | None, patterns: Sequence[str] | None) -> None:
    """Say which models a user, or the tenant itself, may use."""
    text = None if patterns is None else orjson.dumps(list(patterns)).decode()
    if user_id is None:
        connection.execute(update(tenants).where(tenants.c.id == tenant_id).values(models=text))
    else:
        here = (users.c.tenant_id == tenant_id, users.c.id == user_id)
        connection.execute(update(users).where(*here).values(models=text))


def models_of(connection: Connection, tenant_id: str, user_id: str) -> tuple[Patterns, Patterns]:
    """Which models a tenant and its user may use; there need be no such user."""
    its = and_(users.c.tenant_id == tenants.c.id, users.c.id == user_id)
    columns = (tenants.c.models, users.c.models)
    row = connection.execute(select(*columns).join(users, its, isouter=True).where(tenants.c.id == tenant_id)).one()
    of_tenant, of_user = (None if text is None else read_patterns(text) for text in row)
    return of_tenant, of_user


def set_near_limit(connection: Connection, tenant_id: str, what: str) -> None:
    """Say what becomes of a call that fits under a limit only with a shorter completion."""
    connection.execute(update(tenants).where(tenants.c.id == tenant_id).values(near_limit=what))
