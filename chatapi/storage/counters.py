"""Counters: what every scope has used and has held in each window; rows are made on first use and never reset."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Executable,
    FromClause,
    Text,
    case,
    cast,
    delete,
    literal,
    literal_column,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.sql.elements import ColumnElement

from chatapi.domain.counters import Counter, CounterKey
from chatapi.domain.limits import Amount, Metric, Scope
from chatapi.storage.columns import ID, Row
from chatapi.storage.given import Kind, Statement, Types
from chatapi.storage.tables import counters

KEY: Types = {"tenant_id": ID, "scope": Text(), "scope_id": ID, "window": Text(), "window_key": Text(), "model": Text()}
COLUMNS = [f"{metric}_{side}" for side in ("used", "held") for metric in Metric]
LOCK_ORDER = {scope.value: position for position, scope in enumerate(Scope)}
Counters = dict[CounterKey, Counter]


class Sums(Counters):
    """Changes of counters, added up."""

    def add(self, keys: Iterable[CounterKey], change: Counter) -> None:
        """Add a change to each of these counters."""
        for key in keys:
            there = self.get(key)
            self[key] = change if there is None else there.plus(change)


def add(connection: Connection, changes: Mapping[CounterKey, Counter]) -> Callable[[Container[CounterKey]], Counters]:
    """Lock the counters, making rows where there are none, and add the changes.

    One statement whose rows are sorted: every transaction locks counters in the same order (access tokens, users,
    tenants; then by key), so that no two can wait for each other. A change of nothing only locks and reads.

    Returns:
        What gives the counters as they are then, at least those that are wanted. It waits; what is asked before goes in
        the same round trip.
    """
    if connection.dialect.name == "sqlite":  # where RETURNING takes twice as long as reading what has been written
        add_unread(connection, changes)
        return lambda wanted: read(connection, [key for key in changes if key in wanted])
    answer = _ADD.ask(connection, _rows(changes))
    return lambda _: _found(answer())


def add_unread(connection: Connection, changes: Mapping[CounterKey, Counter]) -> None:
    """The same for somebody who does not want to know."""
    _ADD_ONLY.run(connection, _rows(changes))


def change(connection: Connection, changes: Mapping[CounterKey, Counter]) -> None:
    """The same for counters that only limits name: those that have no row are not kept, and stay so."""
    given = _rows(changes)
    if connection.dialect.name != "sqlite":
        _LOCK.ask(connection, given)  # in order: an UPDATE of many rows has none
    _CHANGE.run(connection, given)


def read(connection: Connection, keys: Iterable[CounterKey]) -> Counters:
    """The counters as they are now, without a lock; those that have no row are absent."""
    return _found(_READ.run(connection, [_row(key, Counter()) for key in keys]))


def following(connection: Connection, after: CounterKey | None, most: int) -> list[CounterKey]:
    """Which counters there are, in the order of their keys, after this one or from the first one on."""
    key = list(counters.primary_key)
    found = select(*key).order_by(*key).limit(most)
    if after is not None:
        place = (literal(value, column.type) for value, column in zip(after, key, strict=True))
        found = found.where(tuple_(*key) > tuple_(*place))
    return [CounterKey(*row) for row in connection.execute(found)]


def forget(connection: Connection, keys: Iterable[CounterKey]) -> None:
    """Delete counters of windows that are over."""
    _FORGET.run(connection, [_row(key, Counter()) for key in sorted(keys, key=_order)])


def _rows(changes: Mapping[CounterKey, Counter]) -> list[Row]:
    """The rows that are given, in the order in which they are locked."""
    return [_row(key, changes[key]) for key in sorted(changes, key=_order)]


def _found(rows: Iterable[Sequence[Any]]) -> Counters:
    return {
        CounterKey(*row[:6]): Counter(Amount(row[6], row[7], row[8]), Amount(row[9], row[10], row[11])) for row in rows
    }


def _columns() -> list[Any]:
    names = (cast(column, Text) if column.type is ID else column for column in (counters.c[name] for name in KEY))
    return [*names, *(counters.c[name] for name in COLUMNS)]


def _add_only(kind: Kind, given: FromClause) -> list[Any]:
    names = [*KEY, *COLUMNS]
    insert = kind.insert(counters).from_select(names, select(*(given.c[name] for name in names)).where(text("true")))
    added = {name: counters.c[name] + insert.excluded[name] for name in COLUMNS}
    return [insert.on_conflict_do_update(index_elements=list(counters.primary_key), set_=added)]


def _add(kind: Kind, given: FromClause) -> list[Executable]:
    return [_add_only(kind, given)[0].returning(*_columns())]


def _change(_kind: Kind, given: FromClause) -> list[Executable]:
    here = [counters.c[name] == given.c[name] for name in KEY]
    return [update(counters).where(*here).values({name: counters.c[name] + given.c[name] for name in COLUMNS})]


def _lock(_kind: Kind, given: FromClause) -> list[Executable]:
    here = [counters.c[name] == given.c[name] for name in KEY]
    scope = case(*((counters.c.scope == _word(name), literal_column(str(place))) for name, place in LOCK_ORDER.items()))
    order = (scope, *(counters.c[name] for name in KEY))
    return [select(counters.c.scope).select_from(given).where(*here).order_by(*order).with_for_update(of=counters)]


def _word(name: str) -> ColumnElement[str]:
    return literal_column(f"'{name}'", Text)


def _read(_kind: Kind, given: FromClause) -> list[Executable]:
    here = [counters.c[name] == given.c[name] for name in KEY]
    return [select(*_columns()).select_from(given).where(*here)]


def _forget(_kind: Kind, given: FromClause) -> list[Executable]:
    return [delete(counters).where(*(counters.c[name] == given.c[name] for name in KEY))]


_TYPES = {**KEY, **dict.fromkeys(COLUMNS, BigInteger())}
_ADD = Statement(_TYPES, _add, returns=True)
_ADD_ONLY = Statement(_TYPES, _add_only)
_CHANGE = Statement(_TYPES, _change)
_LOCK = Statement(_TYPES, _lock, returns=True)
_READ = Statement(_TYPES, _read, returns=True)
_FORGET = Statement(_TYPES, _forget)


def _order(key: CounterKey) -> tuple[int, CounterKey]:
    return LOCK_ORDER[key.scope], key


def _row(key: CounterKey, change: Counter) -> Row:
    tenant_id, scope, scope_id, window, window_key, model = key
    (requests_used, tokens_used, cost_used), (requests_held, tokens_held, cost_held) = change
    return {
        "tenant_id": tenant_id,
        "scope": scope,
        "scope_id": scope_id,
        "window": window,
        "window_key": window_key,
        "model": model,
        "requests_used": requests_used,
        "tokens_used": tokens_used,
        "cost_used": cost_used,
        "requests_held": requests_held,
        "tokens_held": tokens_held,
        "cost_held": cost_held,
    }
