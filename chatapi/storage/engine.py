"""The database: one engine, short transactions, and the database's clock.

PostgreSQL: every connection gives up after 2 s on a lock or when idle in a transaction, so that a stalled process
cannot stop the others. SQLite: write-ahead log with `synchronous=FULL` (nothing acknowledged is lost at a power cut),
and write transactions that begin with BEGIN IMMEDIATE, one at a time per process. Another process's lock is waited for
by short sleeps, which let every other greenlet run, and never by SQLite's own busy handler, which would freeze them
all.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from chatapi.errors import DatabaseUnavailable, RowLocked
from chatapi.settings import Settings
from chatapi.storage import postgresql
from chatapi.storage.database_url import read_database_url
from chatapi.storage.gate import Gate
from chatapi.storage.given import KINDS, NOW, read_stamp, sqlite_of, stamp

LOCK_WAIT_S = 2.0
KEPT_FOR_READING = 2  # of the connections of a pool
MOST_WRITERS = 4  # of one process at once; more would only wait for each other's rows
MOST_WAITING = 1000  # transactions of one process, urgent ones not counted

Clock = Callable[[Connection], datetime]
SQLITE_OPTIONS: dict[str, Any] = {
    "connect_args": {"timeout": 0, "isolation_level": None, "check_same_thread": False},
    "pool_size": 8,
    "max_overflow": 56,
    "pool_timeout": LOCK_WAIT_S,
}
_NOW = {is_sqlite: str(select(kind.clock()).compile(dialect=kind.dialect)) for is_sqlite, kind in KINDS.items()}


class NotCommitted(DatabaseUnavailable):
    """The database refused a statement, or ended the connection, before it came to the commit: surely nothing was
    written."""


class Database:
    """Connections and transactions. `clock` stands in for the database's own clock in tests of midnights."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.is_sqlite = settings.is_sqlite
        self._clock = clock
        writers = 1 if self.is_sqlite else max(1, min(MOST_WRITERS, settings.database_pool - KEPT_FOR_READING))
        self._kept: list[Connection] = []
        self._writing = Gate(writers, MOST_WAITING)
        self.engine = self.writing_engine = self._engine(settings, settings.database_pool - writers)
        if not self.is_sqlite:
            self.writing_engine = self._engine(settings, writers, postgresql.BY_KEY)

    def _engine(self, settings: Settings, pool_size: int, planning: str = "") -> Engine:
        url = read_database_url(settings.database)
        if self.is_sqlite:
            engine = create_engine(url, **SQLITE_OPTIONS)
            event.listen(engine, "connect", _prepare_sqlite)
        else:
            engine = create_engine(url, **postgresql.engine_options(max(1, pool_size), planning))
            event.listen(engine, "do_connect", postgresql.connect)
        return engine

    def now(self, connection: Connection) -> datetime:
        """The database's clock, in UTC: all the machines of an installation see the same one."""
        if self._clock is not None:
            return self._clock(connection)
        if self.is_sqlite:
            return read_stamp(sqlite_of(connection).execute(_NOW[True]).fetchone()[0])
        return read_stamp(connection.exec_driver_sql(_NOW[False]).scalar_one())

    def instant(self, connection: Connection, read: datetime) -> datetime:
        """What the database's clock said in a statement of one's own."""
        return read if self._clock is None else self._clock(connection)

    def began(self, connection: Connection) -> str:
        """When this transaction began, by the database's clock, as given rows carry it."""
        if self._clock is None and not self.is_sqlite:
            return NOW
        return stamp(connection, self.now(connection))

    def stand_in(self, connection: Connection) -> str | None:
        """What stands in for the database's clock, as given rows carry it, if anything does."""
        return None if self._clock is None else stamp(connection, self._clock(connection))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads, on one snapshot where the database gives one.

        Raises:
            DatabaseUnavailable: the database cannot answer.
        """
        with _translated(), self.engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN")
            else:
                connection.begin()
            yield connection
            connection.rollback()

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A transaction that only reads, all its statements on one and the same snapshot, however long they take.

        Raises:
            DatabaseUnavailable: the database cannot answer.
        """
        with _translated(), self.engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN")
            else:
                connection.execution_options(isolation_level="REPEATABLE READ")
                for timeout in ("statement_timeout", "idle_in_transaction_session_timeout"):
                    connection.exec_driver_sql(f"SET LOCAL {timeout} = 0")
            with postgresql.patient(connection.connection.driver_connection):
                yield connection
            connection.rollback()

    @contextmanager
    def write(self, wait_s: float = LOCK_WAIT_S, *, urgent: bool = False) -> Iterator[Connection]:
        """A transaction that writes; it commits when the block ends well. Nothing in the block may wait for anything
        else. Urgent ones, which give back what is held, go before the others.

        Raises:
            DatabaseUnavailable: the database cannot answer, or its lock was not to be had within `wait_s`.
            GuessedWrong: something that the block expected is not so.
            Overloaded: too many are waiting; never said to an urgent one.
        """
        with _translated(), self._writing.entered(wait_s, urgent=urgent):
            connection = self._kept.pop() if self._kept else self.writing_engine.connect()
            try:
                connection.begin()
                if self.is_sqlite:
                    _begin_immediate(connection, wait_s)
                yield connection
                if not self.is_sqlite:
                    _commit(connection)
                connection.commit()
            except BaseException:
                with suppress(DBAPIError):  # of a connection that is lost: what lost it is what is to be said
                    connection.close()
                self._close_kept()  # what broke this one may have broken them all
                raise
            self._kept.append(connection)  # for the next one: giving it back to the pool costs more than some writes

    def _close_kept(self) -> None:
        while self._kept:
            self._kept.pop().close()

    def try_lock(self, connection: Connection, name: str) -> bool:
        """Take the installation-wide lock `name` until this transaction ends, or say at once that another has it.

        On SQLite a write transaction is itself such a lock.
        """
        if self.is_sqlite:
            return True
        return bool(connection.execute(select(func.pg_try_advisory_xact_lock(func.hashtext(name)))).scalar())

    def close(self) -> None:
        """Close all connections."""
        self._close_kept()
        self.engine.dispose()
        self.writing_engine.dispose()


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for attempt in range(200):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            break
        except Exception as error:  # another process is switching the same file over; sqlite3's own error class
            if "locked" not in str(error) or attempt == 199:
                raise
            time.sleep(0.01)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_immediate(connection: Connection, wait_s: float) -> None:
    driver, give_up_at = sqlite_of(connection), time.monotonic() + wait_s
    while True:
        try:
            driver.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= give_up_at:
                raise
        time.sleep(random.uniform(0.0005, 0.003))


def _commit(connection: Connection) -> None:
    """Commit with what was not waited for yet."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, postgresql.Connection)
    try:
        driver.exchange(commit=True)
    except psycopg.Error as error:
        if not postgresql.says_not_now(error):
            raise
        connection.invalidate(error)
        if driver.not_committed and not isinstance(error, psycopg.errors.LockNotAvailable):
            raise NotCommitted from error
        raise


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the drivers' many ways of saying "not now" into one; a broken statement stays an error of ours."""
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseUnavailable from error
    except DBAPIError as error:
        if isinstance(error, OperationalError) or error.connection_invalidated or postgresql.says_not_now(error.orig):
            raise _unavailable(error.orig) from error
        raise
    except (sqlite3.OperationalError, psycopg.Error) as error:  # of the ledger's statements, which are the driver's own
        if isinstance(error, sqlite3.OperationalError) or postgresql.says_not_now(error):
            raise _unavailable(error) from error
        raise


def _unavailable(error: BaseException | None) -> DatabaseUnavailable:
    return RowLocked() if isinstance(error, psycopg.errors.LockNotAvailable) else DatabaseUnavailable()
