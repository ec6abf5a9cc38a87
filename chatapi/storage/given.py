"""Statements over rows that are given: any number of rows, in as few round trips as the database needs.

The ledger writes batches, and a statement of its own for each row would cost a round trip and a tenth of a millisecond
each. Here a statement is written once, in SQLAlchemy's terms, over a table `given`; compiled once for each way to give
rows; and then run as the driver's own SQL. On PostgreSQL `given` is one JSON text, or, for a single row, its values as
parameters, which are read and planned in less time. On SQLite, where there are no round trips, reading JSON would cost
more than it saves: there the statement is run for each row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
)
from sqlalchemy.dialects import postgresql as postgresql_dialects
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import TypeEngine

from chatapi.storage import postgresql
from chatapi.storage.columns import Row
from chatapi.storage.guessing import GuessedWrong

Types = Mapping[str, TypeEngine[Any]]
Build = Callable[["Kind", FromClause], Sequence[Executable]]
Text = tuple[str, Callable[[Row], Any]]  # a statement as the driver takes it, and what it takes of a row
Way = tuple[bool, bool]  # whether the database is SQLite, and whether a single row is given
Answer = Callable[[], Sequence[Any]]  # waits for the rows that a statement gives back
ROWS = "given_rows"
NOW = "now"
"""As a given row carries the instant at which PostgreSQL's transaction began. Source: its manual, "Date/Time Types"."""


class Kind:
    """A kind of database, for what has to be said differently there."""

    def __init__(self, *, is_sqlite: bool) -> None:
        self.is_sqlite = is_sqlite
        own: Any = sqlite.dialect if is_sqlite else postgresql_dialects.psycopg.dialect
        # Numbers, as libpq takes them, and not names, as psycopg does.
        self.dialect: Any = own() if is_sqlite else own(paramstyle="numeric_dollar")
        self.insert: Any = sqlite.insert if is_sqlite else postgresql_dialects.insert

    def given(self, types: Types, *, returns: bool, alone: bool) -> FromClause:
        """The table `given`: rows of a JSON text; or one row of parameters, which need no table to be written."""
        columns = [column(name, type_) for name, type_ in types.items()]
        if not alone:
            text = func.json_to_recordset(cast(bindparam(ROWS, type_=String), JSON))
            rows = text.table_valued(*columns).render_derived(name="given", with_types=True)
            return select(rows).cte("given")  # read once, by however many statements
        values = {name: bindparam(name, type_=type_) for name, type_ in types.items()}
        if returns or not self.is_sqlite:
            return select(*(self._typed(value).label(name) for name, value in values.items())).subquery("given")
        row: Any = SimpleNamespace(c=values)
        return row  # type: ignore[no-any-return]

    def _typed(self, value: ColumnElement[Any]) -> ColumnElement[Any]:
        """A parameter whose type PostgreSQL is told."""
        return value if self.is_sqlite else cast(value, value.type)

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

    def text_of(self, value: ColumnElement[Any]) -> ColumnElement[Any]:
        """Bytes that are a text, as text."""
        return cast(value, String) if self.is_sqlite else func.convert_from(value, literal_column("'UTF8'"))


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
        expected: whether the first of them must change a row for each that is given. On PostgreSQL the last one checks
            it; on SQLite this does.
    """

    def __init__(self, types: Types, build: Build, *, returns: bool = False, expected: bool = False) -> None:
        self._types = types
        self._build = build
        self._returns = returns
        self._expected = expected
        self._texts: dict[Way, list[Text]] = {}

    def run(self, connection: Connection, rows: Sequence[Row]) -> Sequence[Any]:
        """Run it. Returns the rows it gives back, values as the driver has them, or nothing.

        On PostgreSQL, one that gives nothing back is sent with the next one that does, or with the commit.
        """
        answer = self.ask(connection, rows)
        return answer() if self._returns else ()

    def ask(self, connection: Connection, rows: Sequence[Row]) -> Answer:
        """Run it, and wait for what it gives back when that is wanted: until then others may be sent along with it."""
        if not rows:
            return _nothing
        is_sqlite = connection.dialect.name == "sqlite"
        way = (is_sqlite, is_sqlite or len(rows) == 1)
        texts = self._texts.get(way) or self._compile(way)
        if not is_sqlite:
            ((text, parameters_of),) = texts
            return send(connection, text, parameters_of(rows[0]) if way[1] else [orjson.dumps(rows)])
        driver = sqlite_of(connection)
        if self._returns:
            ((text, values_of),) = texts
            found = [row for given in rows for row in driver.execute(text, values_of(given)).fetchall()]
            return lambda: found
        changed = [driver.executemany(text, [values_of(row) for row in rows]).rowcount for text, values_of in texts]
        if self._expected and changed[0] < len(rows):
            raise GuessedWrong
        return _nothing

    def _compile(self, way: Way) -> list[Text]:
        is_sqlite, alone = way
        kind = KINDS[is_sqlite]
        statements: list[Any] = list(self._build(kind, kind.given(self._types, returns=self._returns, alone=alone)))
        if not is_sqlite:
            *before, last = statements
            statements = [last.add_cte(*(part.cte(f"part_{number}") for number, part in enumerate(before)))]
        take = _values if is_sqlite else _parameters
        compiled = [statement.compile(dialect=kind.dialect) for statement in statements]
        texts = self._texts[way] = [(str(each), take(each.positiontup)) for each in compiled]
        return texts


def _values(names: Sequence[str]) -> Callable[[Row], Any]:
    """What takes these values out of a row, as a tuple."""
    return itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)


def _parameters(names: Sequence[str]) -> Callable[[Row], list[bytes | None]]:
    """What takes these values out of a row as PostgreSQL reads them."""
    values_of = _values(names)

    def take(row: Row) -> list[bytes | None]:
        texts = [None if value is None else str(value).encode() for value in values_of(row)]
        if b"\0" in b"".join(filter(None, texts)):
            raise ValueError("PostgreSQL keeps no NUL")  # libpq would take what is before it
        return texts

    return take


def _nothing() -> Sequence[Any]:
    return ()


def sqlite_of(connection: Connection) -> Any:
    """SQLite's own connection: describing results and looking up their types takes SQLAlchemy longer than they take."""
    return connection.connection.dbapi_connection


def send(connection: Connection, text: str, parameters: Sequence[bytes | None]) -> Answer:
    """Have PostgreSQL run a statement with the next exchange; what it gives back is there when it is asked for."""
    driver: Any = connection.connection.dbapi_connection
    sent = driver.send(text, parameters)

    def answer() -> Sequence[Any]:
        if sent.rows is None:
            try:
                driver.exchange()
            except Exception as error:
                if postgresql.says_not_now(error):
                    connection.invalidate(error)
                raise
        found: Sequence[Any] = sent.rows
        return found

    return answer


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
