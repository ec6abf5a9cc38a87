"""Limits as they were set. Each function runs inside its caller's transaction and commits nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, literal, select, tuple_
from sqlalchemy import Row as Found

from chatapi.domain.effective_limits import LimitRow, LimitScope, LimitSetting, Unset
from chatapi.domain.limits import Metric
from chatapi.domain.windows import Window
from chatapi.storage.bulk import batches, execute_many
from chatapi.storage.columns import Row
from chatapi.storage.given import insert_for
from chatapi.storage.tables import limits, users

ORDER = (limits.c.scope, limits.c.scope_id, limits.c.metric, limits.c.window, limits.c.model)


@dataclass(frozen=True, slots=True)
class LimitChange:
    """What a limit shall be: a number, unlimited, or not set (inherited)."""

    tenant_id: str
    scope: LimitScope
    scope_id: str
    metric: Metric
    window: Window
    setting: LimitSetting
    model: str = ""  # any


@dataclass(frozen=True, slots=True)
class LimitFilter:
    """Which of the limits that were set in a tenant; None: any."""

    scope: LimitScope | None = None
    scope_id: str | None = None
    metric: Metric | None = None
    window: Window | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class KeptLimit:
    """A limit that was set, when, and the name of the user that it is for, if it is for one."""

    row: LimitRow
    changed_at: datetime
    username: str | None

    @property
    def key(self) -> tuple[str, ...]:
        """By which they are ordered."""
        row = self.row
        return row.scope, row.scope_id, row.metric.value, row.window.value, row.model


def page_of_limits(
    connection: Connection, tenant_id: str, wanted: LimitFilter, after: Sequence[str] | None, most: int
) -> list[KeptLimit]:
    """The next limits of a tenant that are wanted, in the order of their keys.

    Args:
        connection: to the database.
        tenant_id: whose they are.
        wanted: which of them.
        after: the key of the last one of the page before.
        most: how many at most.
    """
    its_user = (users.c.tenant_id == limits.c.tenant_id) & (users.c.id == limits.c.scope_id)
    statement = select(limits, users.c.username).outerjoin(users, its_user).where(limits.c.tenant_id == tenant_id)
    for name in ("scope", "scope_id", "metric", "window", "model"):
        if (value := getattr(wanted, name)) is not None:
            statement = statement.where(limits.c[name] == value)
    if after is not None:
        last = (literal(value, column.type) for value, column in zip(after, ORDER, strict=True))
        statement = statement.where(tuple_(*ORDER) > tuple_(*last))
    found = connection.execute(statement.order_by(*ORDER).limit(most))
    return [KeptLimit(_limit(row), row.changed_at, row.username) for row in found]


def find_limits(
    connection: Connection,
    tenant_id: str,
    *,
    scopes: Collection[LimitScope] = tuple(LimitScope),
    scope_ids: Collection[str] | None = None,
) -> list[LimitRow]:
    """The limits that were set in a tenant, in these scopes, and for these ids (a thousand or so) if given."""
    statement = select(limits).where(limits.c.tenant_id == tenant_id, limits.c.scope.in_(scopes))
    if scope_ids is not None:
        statement = statement.where(limits.c.scope_id.in_(scope_ids))
    return [_limit(row) for row in connection.execute(statement.order_by(*limits.primary_key))]


def find_daily_limits(
    connection: Connection, tenant_id: str, user_ids: Collection[str]
) -> dict[tuple[str, Metric], LimitSetting]:
    """The limits per day that were set for users of a tenant themselves, by user's id and metric."""
    return {
        (row.scope_id, row.metric): Unset.UNLIMITED if row.value is None else row.value
        for some in batches(user_ids)
        for row in find_limits(connection, tenant_id, scopes=[LimitScope.USER], scope_ids=some)
        if row.window is Window.DAY and not row.model
    }


def change_limits(connection: Connection, changes: Sequence[LimitChange], now: datetime) -> None:
    """Set limits, or remove those that shall be inherited."""
    inherited = [change for change in changes if change.setting is Unset.INHERIT]
    kept = [change for change in changes if change.setting is not Unset.INHERIT]
    if inherited:
        matches = [column == bindparam(f"of_{column.name}") for column in limits.primary_key]
        rows: list[Row] = [{f"of_{name}": value for name, value in _key(change).items()} for change in inherited]
        execute_many(connection, delete(limits).where(*matches), rows)
    if kept:
        insert = insert_for(connection)(limits)
        changed = {"value": insert.excluded.value, "changed_at": insert.excluded.changed_at}
        statement = insert.on_conflict_do_update(index_elements=list(limits.primary_key), set_=changed)
        execute_many(
            connection, statement, [{**_key(change), "value": _value(change), "changed_at": now} for change in kept]
        )


def _limit(row: Found[Any]) -> LimitRow:
    return LimitRow(row.scope, row.scope_id, Metric(row.metric), Window(row.window), row.value, row.model)


def _key(change: LimitChange) -> Row:
    return {
        "tenant_id": change.tenant_id,
        "scope": change.scope.value,
        "scope_id": change.scope_id,
        "metric": change.metric.value,
        "window": change.window.value,
        "model": change.model,
    }


def _value(change: LimitChange) -> int | None:
    return None if isinstance(change.setting, Unset) else change.setting
