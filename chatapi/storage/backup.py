"""Reading all tables on one snapshot, and filling empty ones, both in bounded memory.

What lives for minutes only is left out: the workers' leases, so that whatever they held is held by nobody after a
restore, and failed logins.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, LargeBinary, Table, func, insert, select
from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, ProgrammingError

from chatapi.domain.retention import Month, months_from
from chatapi.errors import InvalidInput
from chatapi.storage import partitions, postgresql, schema
from chatapi.storage.admin_tables import trail
from chatapi.storage.bulk import batches
from chatapi.storage.columns import Row, UtcDateTime
from chatapi.storage.engine import Database
from chatapi.storage.installation import find as find_installation
from chatapi.storage.tables import metadata

LEFT_OUT = frozenset({"workers", "login_failures"})
ROWS_AT_ONCE = 1000
LARGE_ROWS_AT_ONCE = 20  # of tables with bytes: a kept reply may be a megabyte
FIRST_MONTH = Month(2020, 1)  # calls of earlier ids are of clocks that were wrong

assert trail.metadata is metadata  # whole, with the tables of administration
TABLES: dict[str, Table] = {table.name: table for table in metadata.sorted_tables if table.name not in LEFT_OUT}

JsonRow = list[Any]


class Source:
    """A database to be backed up, on one snapshot."""

    def __init__(self, database: Database, connection: Connection) -> None:
        self._connection = connection
        self.schema = schema.revision(connection) or ""
        self.made_at = database.now(connection)
        self.kind = connection.dialect.name
        found = find_installation(connection)
        self.installation_id = None if found is None else found.id

    def count(self, name: str) -> int:
        """How many rows a table has."""
        return self._connection.execute(select(func.count()).select_from(TABLES[name])).scalar_one()

    def rows(self, name: str) -> Iterator[JsonRow]:
        """A table's rows, as JSON has them."""
        table = TABLES[name]
        result = self._connection.execute(select(table), execution_options={"yield_per": _rows_at_once(table)})
        places = _places_of_bytes(table)
        for some in result.partitions():
            for row in some:
                values = list(row)
                for place in places:
                    if values[place] is not None:
                        values[place] = base64.b64encode(values[place]).decode()
                yield values


@contextmanager
def snapshot(database: Database) -> Iterator[Source]:
    """A database at one instant, however long it takes to read it; calls go on meanwhile.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    with database.snapshot() as connection:
        partitions.hold(connection)
        yield Source(database, connection)


class Target:
    """An empty database that is being filled, in one transaction."""

    def __init__(self, database: Database, connection: Connection) -> None:
        self._database = database
        self._connection = connection

    def make_room(self, months: Iterable[Month]) -> None:
        """Make the partitions of the calls that come; without one they would be stored all in one place."""
        last = months_from(self._database.now(self._connection), partitions.AHEAD)[-1]
        partitions.make(self._connection, sorted(month for month in set(months) if FIRST_MONTH <= month <= last))

    def fill(self, name: str, rows: Iterable[JsonRow]) -> None:
        """Put rows into a table.

        Raises:
            InvalidInput: one does not fit into it.
        """
        table = TABLES[name]
        readers = [_reader(column.type) for column in table.columns]
        names = [column.name for column in table.columns]
        try:
            for some in batches(rows, _rows_at_once(table)):
                self._connection.execute(insert(table), [_read(names, readers, row) for row in some])
        except (IntegrityError, DataError, ProgrammingError, InterfaceError, ValueError, TypeError) as error:
            raise InvalidInput(f"A row of the table {name} does not fit into it: the backup is damaged.") from error


@contextmanager
def filling(database: Database) -> Iterator[Target]:
    """An empty database, to be filled as a whole or not at all.

    Raises:
        InvalidInput: it is not empty.
        DatabaseUnavailable: the database cannot answer.
    """
    with database.write() as connection, postgresql.patient(connection.connection.driver_connection):
        if not database.is_sqlite:
            connection.exec_driver_sql(
                "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;"
                f" {postgresql.PLAN_FREELY}; LOCK TABLE installation, tenants IN ACCESS EXCLUSIVE MODE"
            )
        for table in metadata.sorted_tables:
            if connection.execute(select(*table.primary_key).limit(1)).first() is not None:
                raise InvalidInput(
                    f"The database is not empty: there is something in the table {table.name}. Restore into one on"
                    " which nothing but `chatapi db upgrade` was run (CHATAPI_DATABASE_URL names it)."
                )
        yield Target(database, connection)


def _places_of_bytes(table: Table) -> list[int]:
    """Which of a table's columns have bytes."""
    return [number for number, column in enumerate(table.columns) if isinstance(column.type, LargeBinary)]


def _rows_at_once(table: Table) -> int:
    return LARGE_ROWS_AT_ONCE if _places_of_bytes(table) else ROWS_AT_ONCE


def _read(names: Sequence[str], readers: Sequence[Callable[[Any], Any] | None], row: JsonRow) -> Row:
    return {
        name: value if value is None or read is None else read(value)
        for name, read, value in zip(names, readers, row, strict=True)
    }


def _reader(kind: object) -> Callable[[Any], Any] | None:
    """What makes a column's value of JSON's."""
    if isinstance(kind, UtcDateTime):
        return lambda text: datetime.fromisoformat(text).astimezone(UTC)
    if isinstance(kind, LargeBinary):
        return base64.b64decode
    return None
