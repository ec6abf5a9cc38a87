"""Statements over rows that are given: any number of rows, in as few round trips as the database needs.

The ledger writes batches, and a statement of its own for each row would cost a round trip and a tenth of a millisecond
each. Here a statement is written once, in SQLAlchemy's terms, over a table `given`; compiled once for each kind of
database; and then run as the driver's own SQL. On PostgreSQL `given` is one JSON text. On SQLite, where there are no
round trips, reading JSON would cost more than it saves: unless it returns rows, the statement is run for each row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from types import SimpleNamespace
from typing import Any

import orjson
from sqlalchemy import (
    JSON,
    Connection,
    Executable,
    FromClause,
    String,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
    type_coerce,
)
from sqlalchemy.dialects import postgresql as postgresql_dialects
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import TypeEngine

from chatapi.storage import postgresql
from chatapi.storage.tables import Row

Types = Mapping[str, TypeEngine[Any]]
Build = Callable[["Kind", FromClause], Sequence[Executable]]
Text = tuple[str, Callable[[Row], Any]]  # a statement as the driver takes it, and what it takes of a row
ROWS = "given_rows"
ONE_BY_ONE: Any = sqlite.dialect()


class Kind:
    """A kind of database, for what has to be said differently there."""

    def __init__(self, *, is_sqlite: bool) -> None:
        self.is_sqlite = is_sqlite
        self.dialect: Any = sqlite.dialect(paramstyle="named") if is_sqlite else postgresql_dialects.psycopg.dialect()  # type: ignore[no-untyped-call]
        self.insert: Any = sqlite.insert if is_sqlite else postgresql_dialects.insert

    def given(self, types: Types, *, one_by_one: bool) -> FromClause:
        """The table `given`: rows of a JSON text; or the parameters of one row, which need no table."""
        if one_by_one:
            row: Any = SimpleNamespace(c={name: bindparam(name, type_=type_) for name, type_ in types.items()})
            return row  # type: ignore[no-any-return]
        if self.is_sqlite:
            value = func.json_each(bindparam(ROWS, type_=String)).table_valued("value", name="each_given").c.value
            fields = {name: value.op("->>")(literal_column(f"'{name}'")) for name in types}
            return select(*(type_coerce(fields[name], types[name]).label(name) for name in types)).subquery("given")
        rows = func.json_to_recordset(cast(bindparam(ROWS, type_=String), JSON))
        columns = [column(name, type_) for name, type_ in types.items()]
        return rows.table_valued(*columns).render_derived(name="given", with_types=True)

    def clock(self) -> ColumnElement[Any]:
        """The database's clock, UTC."""
        if self.is_sqlite:
            return func.strftime(literal_column("'%Y-%m-%dT%H:%M:%f'"), literal_column("'now'"))
        return func.clock_timestamp()

    def json_lists(self, *columns: ColumnElement[Any]) -> ColumnElement[Any]:
        """An aggregate: the JSON text of a list of lists, one for each row."""
        if self.is_sqlite:
            return func.json_group_array(func.json_array(*columns))
        return cast(func.json_agg(func.json_build_array(*columns)), String)


def insert_for(connection: Connection) -> Any:
    """The INSERT of this database that knows ON CONFLICT."""
    return KINDS[connection.dialect.name == "sqlite"].insert


KINDS = {is_sqlite: Kind(is_sqlite=is_sqlite) for is_sqlite in (True, False)}


class Statement:
    """A statement, or a few that belong together, over given rows.

    Args:
        types: the columns of the rows that are given.
        build: makes the statements from the kind of database and the table `given`; constants in them are literals. On
            PostgreSQL all but the last become parts of the last one, and see what was there before any of them ran.
        returns: whether it gives back rows; then it is a single statement.
    """

    def __init__(self, types: Types, build: Build, *, returns: bool = False) -> None:
        self._types = types
        self._build = build
        self._returns = returns
        self._texts: dict[bool, list[Text]] = {}

    def run(self, connection: Connection, rows: Sequence[Row]) -> Sequence[Any]:
        """Run it. Returns the rows it gives back, values as the driver has them, or nothing."""
        if not rows:
            return ()
        is_sqlite = connection.dialect.name == "sqlite"
        texts = self._texts.get(is_sqlite) or self._compile(KINDS[is_sqlite])
        if is_sqlite and not self._returns:
            for text, values_of in texts:
                with cursor_of(connection) as cursor:
                    cursor.executemany(text, [values_of(row) for row in rows])
            return ()
        with cursor_of(connection) as cursor:
            cursor.execute(texts[0][0], {ROWS: orjson.dumps(rows).decode()})
            return cursor.fetchall() if self._returns else ()

    def _compile(self, kind: Kind) -> list[Text]:
        one_by_one = kind.is_sqlite and not self._returns
        statements: list[Any] = list(self._build(kind, kind.given(self._types, one_by_one=one_by_one)))
        if not kind.is_sqlite:
            *before, last = statements
            statements = [last.add_cte(*(part.cte(f"part_{number}") for number, part in enumerate(before)))]
        dialect = ONE_BY_ONE if one_by_one else kind.dialect
        compiled = [statement.compile(dialect=dialect) for statement in statements]
        texts: list[Text] = [(str(each), itemgetter(*each.positiontup) if one_by_one else dict) for each in compiled]
        self._texts[kind.is_sqlite] = texts
        return texts


@contextmanager
def cursor_of(connection: Connection) -> Iterator[Any]:
    """The driver's own cursor: describing results and looking up their types takes SQLAlchemy longer than they take."""
    cursor = connection.connection.cursor()
    try:
        yield cursor
    except Exception as error:
        if postgresql.says_not_now(error):
            connection.invalidate(error)
        raise
    finally:
        cursor.close()


def stamp(connection: Connection, instant: datetime) -> str:
    """An instant as given rows carry it."""
    return _stamp(connection.dialect.name == "sqlite", instant)


@lru_cache(maxsize=64)  # most rows of a batch carry the same ones
def _stamp(is_sqlite: bool, instant: datetime) -> str:
    if is_sqlite:  # as `UtcDateTime` is kept there
        return instant.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
    return instant.isoformat()


def read_stamp(value: Any) -> datetime:
    """An instant as a driver gives it back."""
    instant: datetime = datetime.fromisoformat(value) if isinstance(value, str) else value
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
