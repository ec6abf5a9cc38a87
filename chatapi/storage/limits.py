"""Limits as they were set. Each function runs inside its caller's transaction and commits nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, select

from chatapi.domain.effective_limits import LimitRow, LimitScope, LimitSetting, Unset
from chatapi.domain.limits import Metric
from chatapi.domain.windows import Window
from chatapi.storage.counters import insert_for
from chatapi.storage.tables import Row, limits


@dataclass(frozen=True, slots=True)
class LimitChange:
    """What a limit shall be: a number, unlimited, or not set (inherited)."""

    tenant_id: str
    scope: LimitScope
    scope_id: str
    metric: Metric
    window: Window
    setting: LimitSetting


def find_limits(
    connection: Connection,
    tenant_id: str,
    *,
    scopes: Collection[LimitScope] = tuple(LimitScope),
    scope_id: str | None = None,
) -> list[LimitRow]:
    """The limits that were set in a tenant, in these scopes, and for one scope's id where it is given."""
    statement = select(limits).where(limits.c.tenant_id == tenant_id, limits.c.scope.in_(scopes))
    if scope_id is not None:
        statement = statement.where(limits.c.scope_id == scope_id)
    return [
        LimitRow(row.scope, row.scope_id, Metric(row.metric), Window(row.window), row.value)
        for row in connection.execute(statement.order_by(*limits.primary_key))
    ]


def change_limits(connection: Connection, changes: Sequence[LimitChange], now: datetime) -> None:
    """Set limits, or remove those that shall be inherited."""
    inherited = [change for change in changes if change.setting is Unset.INHERIT]
    kept = [change for change in changes if change.setting is not Unset.INHERIT]
    if inherited:
        matches = [column == bindparam(f"of_{column.name}") for column in limits.primary_key]
        rows = [{f"of_{name}": value for name, value in _key(change).items()} for change in inherited]
        connection.execute(delete(limits).where(*matches), rows)
    if kept:
        insert = insert_for(connection)(limits)
        changed = {"value": insert.excluded.value, "changed_at": insert.excluded.changed_at}
        statement = insert.on_conflict_do_update(index_elements=list(limits.primary_key), set_=changed)
        connection.execute(statement, [{**_key(change), "value": _value(change), "changed_at": now} for change in kept])


def _key(change: LimitChange) -> Row:
    return {
        "tenant_id": change.tenant_id,
        "scope": change.scope.value,
        "scope_id": change.scope_id,
        "metric": change.metric.value,
        "window": change.window.value,
    }


def _value(change: LimitChange) -> int | None:
    return None if isinstance(change.setting, Unset) else change.setting
