"""Grants: so much more than a limit, in the one window that was open when it was granted.

Admissions read them with the limits (`storage/principals.py`). Each function runs inside its caller's transaction and
commits nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, cast, func, insert, select, update
from uuid_utils import uuid7

from chatapi.domain.effective_limits import Granted
from chatapi.domain.limits import Metric, Scope
from chatapi.domain.windows import KEPT, Window, window_key
from chatapi.storage.admin_tables import grants
from chatapi.storage.tables import counters, tenants, users


@dataclass(frozen=True, slots=True)
class LimitGrant:
    """A grant as it is kept.

    Args:
        scope_id: of the tenant, user or access token.
        window_key: of the only window in which it counts.
        model: '' is any.
        value: requests, tokens or nano-dollars.
        ends_at: when its window ends, as it was when it was granted.
        withdrawn_at: None while it counts.
    """

    tenant_id: str
    scope: Scope
    scope_id: str
    metric: Metric
    window: Window
    window_key: str
    model: str
    value: int
    reason: str
    granted_at: datetime
    ends_at: datetime
    withdrawn_at: datetime | None = None
    id: str = field(default_factory=lambda: str(uuid7()))

    def counts(self, day: str) -> bool:
        """Whether it counts on this local day of its tenant."""
        return self.withdrawn_at is None and self.window_key == window_key(self.window, day)

    @property
    def granted(self) -> Granted:
        """What it adds to which limit."""
        return Granted(self.scope, self.metric, self.window, self.model, self.value)


@dataclass(frozen=True, slots=True)
class GrantFilter:
    """Which grants; `day` are those that count on this local day of the tenant."""

    scope: Scope | None = None
    scope_id: str | None = None
    metric: Metric | None = None
    window: Window | None = None
    model: str | None = None
    day: str | None = None


def insert_grant(connection: Connection, grant: LimitGrant) -> None:
    """Keep a grant."""
    connection.execute(insert(grants).values({column.name: getattr(grant, column.name) for column in grants.c}))


def withdraw(connection: Connection, grant: LimitGrant) -> None:
    """Take back what is left of it, as it says when."""
    here = (grants.c.tenant_id == grant.tenant_id, grants.c.id == grant.id)
    connection.execute(update(grants).where(*here).values(withdrawn_at=grant.withdrawn_at))


def find_grant(connection: Connection, tenant_id: str, grant_id: str) -> LimitGrant | None:
    """One grant of a tenant, for changing it in this transaction."""
    here = (grants.c.tenant_id == tenant_id, grants.c.id == grant_id)
    row = connection.execute(select(grants).where(*here).with_for_update()).mappings().one_or_none()
    return None if row is None else _grant(row)


def tenant_of_grant(connection: Connection, grant_id: str) -> str | None:
    """Whose grant has this id: each tenant is asked by its key."""
    here = (grants.c.tenant_id == tenants.c.id) & (grants.c.id == grant_id)
    return connection.execute(select(tenants.c.id).join(grants, here)).scalar()


def open_grants(connection: Connection, tenant_id: str, scope_ids: Collection[str], day: str) -> list[LimitGrant]:
    """What counts for these scopes on this local day, oldest first."""
    here = (grants.c.tenant_id == tenant_id, grants.c.scope_id.in_(scope_ids), *_counting(day))
    found = connection.execute(select(grants).where(*here).order_by(grants.c.id)).mappings()
    return [_grant(row) for row in found]


def grants_of_window(connection: Connection, grant: LimitGrant) -> list[LimitGrant]:
    """All that were made to the same scope in the same window, of whatever limit, withdrawn ones too."""
    here = [grants.c[name] == getattr(grant, name) for name in ("tenant_id", "scope_id", "window_key")]
    return [_grant(row) for row in connection.execute(select(grants).where(*here)).mappings()]


def page_of_grants(
    connection: Connection, tenant_id: str, wanted: GrantFilter, before: str | None, most: int
) -> list[tuple[LimitGrant, str | None]]:
    """The newest grants that are wanted, each with the name of the user that it is for, if it is for one.

    Args:
        connection: to the database.
        tenant_id: whose they are.
        wanted: which of them.
        before: the id of the one after which to go on.
        most: how many at most.
    """
    statement = select(grants, users.c.username).where(grants.c.tenant_id == tenant_id)
    its_user = (users.c.tenant_id == grants.c.tenant_id) & (users.c.id == grants.c.scope_id)
    statement = statement.outerjoin(users, its_user).order_by(grants.c.id.desc()).limit(most)
    for name in ("scope", "scope_id", "metric", "window", "model"):
        if (value := getattr(wanted, name)) is not None:
            statement = statement.where(grants.c[name] == value)
    if wanted.day is not None:
        statement = statement.where(*_counting(wanted.day))
    if before is not None:
        statement = statement.where(grants.c.id < before)
    return [(_grant(row), row["username"]) for row in connection.execute(statement).mappings()]


def granted_to_counter(metric: Metric) -> ColumnElement[int]:
    """What was ever granted for a counter's window, for the audit: also what has been withdrawn, for it may have been
    used before."""
    here = [grants.c[name] == counters.c[name] for name in ("tenant_id", "scope", "scope_id", "window_key", "model")]
    here += [grants.c.window == counters.c.window, grants.c.metric == metric.value]
    granted = cast(func.coalesce(func.sum(grants.c.value), 0), BigInteger)  # PostgreSQL would make it a decimal
    return select(granted).where(*here).correlate(counters).scalar_subquery()


def _counting(day: str) -> tuple[ColumnElement[bool], ...]:
    keys = [window_key(window, day) for window in KEPT]
    return grants.c.window_key.in_(keys), grants.c.withdrawn_at.is_(None)


def _grant(row: Mapping[Any, Any]) -> LimitGrant:
    values: dict[str, Any] = {column.name: row[column.name] for column in grants.c}
    for name, kind in (("scope", Scope), ("metric", Metric), ("window", Window)):
        values[name] = kind(values[name])
    return LimitGrant(**values)
