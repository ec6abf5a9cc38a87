"""Counters: what every scope has used and has held in each window; rows are made on first use and never reset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from chatapi.domain.limits import Amount, Counter, CounterKey, Metric, Scope
from chatapi.domain.windows import Window
from chatapi.storage.tables import Row, counters

Key = tuple[str, CounterKey]  # a tenant's id and the counter
InsertType = Callable[[Table], postgresql.Insert | sqlite.Insert]
COLUMNS = [f"{metric}_{side}" for metric in Metric for side in ("used", "held")]
NOTHING = Amount()
LOCK_ORDER = {scope: position for position, scope in enumerate(Scope)}


@dataclass(frozen=True, slots=True)
class Change:
    """What is added to a counter; negative amounts take away."""

    used: Amount = NOTHING
    held: Amount = NOTHING

    def __add__(self, other: Change) -> Change:
        return Change(self.used - -other.used, self.held - -other.held)


def insert_for(connection: Connection) -> InsertType:
    """The INSERT of this database that knows ON CONFLICT."""
    return sqlite.Insert if connection.dialect.name == "sqlite" else postgresql.Insert


def add(connection: Connection, changes: Mapping[Key, Change]) -> dict[Key, Counter]:
    """Lock the counters, making rows where there are none, add the changes, and return what they are now.

    One statement whose rows are sorted: every transaction locks counters in the same order (access tokens, users,
    tenants; then by key), so that no two can wait for each other. A change of nothing only locks and reads.
    """
    statement = _upsert(insert_for(connection))
    rows = [_row(key, changes[key]) for key in sorted(changes, key=_order)]
    return _found(connection.execute(statement, rows).mappings())


def read(connection: Connection, tenant_id: str, keys: Iterable[CounterKey]) -> dict[Key, Counter]:
    """The counters of a tenant as they are now, without a lock; those that have no row are absent."""
    columns = counters.c
    wanted = {(key.scope.value, key.scope_id, key.window.value, key.window_key) for key in keys}
    place = tuple_(columns.scope, columns.scope_id, columns.window, columns.window_key)
    return _found(
        connection.execute(select(counters).where(columns.tenant_id == tenant_id, place.in_(wanted))).mappings()
    )


def _found(rows: Iterable[RowMapping]) -> dict[Key, Counter]:
    found = {}
    for row in rows:
        key = CounterKey(Scope(row["scope"]), row["scope_id"], Window(row["window"]), row["window_key"])
        found[row["tenant_id"], key] = Counter(
            Amount(row["requests_used"], row["tokens_used"], row["cost_used"]),
            Amount(row["requests_held"], row["tokens_held"], row["cost_held"]),
        )
    return found


@lru_cache  # building it anew costs more than running it
def _upsert(insert_type: InsertType) -> ReturningInsert[Any]:
    insert = insert_type(counters)
    added = {name: counters.c[name] + insert.excluded[name] for name in COLUMNS}
    return insert.on_conflict_do_update(index_elements=list(counters.primary_key), set_=added).returning(counters)


def _order(key: Key) -> tuple[int, str, str, str, str]:
    tenant_id, counter = key
    return LOCK_ORDER[counter.scope], tenant_id, counter.scope_id, counter.window, counter.window_key


def _row(key: Key, change: Change) -> Row:
    tenant_id, counter = key
    row: Row = {
        "tenant_id": tenant_id,
        "scope": counter.scope.value,
        "scope_id": counter.scope_id,
        "window": counter.window.value,
        "window_key": counter.window_key,
    }
    for metric in Metric:
        row[f"{metric}_used"], row[f"{metric}_held"] = change.used.of(metric), change.held.of(metric)
    return row
