"""Retention: what of the ledger is old, and taking it away in steps that no admission waits for long.

On PostgreSQL a month that is old as a whole is dropped. Everything else is deleted in short transactions: on SQLite,
among the calls whose ids belong to no month, and in a month where a call is still held. A held call is never deleted.
Whatever is taken away first, its days are written into `installation.calls_since` in the same transaction, so that the
audit knows which windows have no calls to be compared with any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta

from sqlalchemy import ColumnElement, Connection, Table, and_, case, delete, func, or_, select, text, update

from chatapi.domain.retention import Month, beyond_ids
from chatapi.errors import DatabaseUnavailable
from chatapi.storage import installation as installations
from chatapi.storage import partitions, postgresql
from chatapi.storage.engine import Database
from chatapi.storage.tables import installation, tenants

AT_ONCE = {"sqlite": 200, "postgresql": 5000}  # calls of a transaction; on SQLite everybody else waits for it
LOCK_WAIT_MS = 100  # for all of the calls: who comes after waits behind us, so this is what an admission may lose
NIL = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class OldMonth:
    """A month that is old as a whole: how many calls it has, and the newest of their local days ('' without calls)."""

    calls: int
    newest_day: str


@dataclass(frozen=True, slots=True)
class Old:
    """What is old: calls of days before `first_day`.

    Attributes:
        months: the months that can be dropped as a whole.
        rows: where calls must be deleted one by one (the end of a pair of partitions' name; None: a plain table), each
            with how many they are.
        held: how many old calls are still held, and stay.
    """

    first_day: str
    months: dict[Month, OldMonth] = field(default_factory=dict)
    rows: dict[str | None, int] = field(default_factory=dict)
    held: int = 0

    @property
    def calls(self) -> int:
        """How many calls can go."""
        return sum(month.calls for month in self.months.values()) + sum(self.rows.values())


@dataclass(frozen=True, slots=True)
class Part:
    """Calls that are deleted one by one: of one tenant, in one pair of partitions (None: in the plain tables)."""

    suffix: str | None
    tenant_id: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction deleted, and the id of the last of it; None when there is nothing more."""

    deleted: int
    last: str | None


def make_partitions(database: Database) -> list[Month]:
    """Make the partitions of this month and those after it where they are missing. Returns the months that were made.

    Nothing is done where another process is making them.

    Raises:
        DatabaseUnavailable: the database cannot answer, or a lock was not to be had; nothing was made then.
    """
    if database.is_sqlite:
        return []
    with database.read() as connection:
        if not partitions.missing(connection, database.now(connection)):
            return []
    with database.write() as connection:
        if not database.try_lock(connection, partitions.LOCK):
            return []
        _hurry(connection)
        return partitions.make_ahead(connection, database.now(connection))


def calls_since(connection: Connection) -> str:
    """The first local day whose calls are all in the ledger; calls of earlier days may be gone. '' when none are."""
    return connection.execute(select(installation.c.calls_since)).scalar() or ""


def find_old(database: Database, first_day: str) -> Old:
    """What is old, read on one snapshot without a lock; its cost is a pass over what is old.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    old = Old(first_day)
    with database.snapshot() as connection:
        partitions.hold(connection)
        held, taken_out = 0, partitions.detached(connection)
        for suffix, month in _parts(connection, first_day):
            count = _count(connection, suffix, first_day)
            if month is not None and (count.all_old or month in taken_out):
                old.months[month] = OldMonth(count.calls - count.kept, count.newest_day)
                continue
            if month is None or month.ended_long_before(first_day):
                old.rows[suffix] = count.old
                held += count.held
    return Old(first_day, old.months, {suffix: calls for suffix, calls in old.rows.items() if calls}, held)


def drop_month(database: Database, month: Month, old: Old) -> int | None:
    """Drop a month that was found old. Returns how many of its calls went; None when it is to stay, or gone already.

    First it is taken out of the tables, which are locked against everybody for that moment. Then it is looked at again,
    at leisure, for what was written since it was found old: only calls whose ids are of a clock that is months late can
    be that, and these are put back.

    Raises:
        DatabaseUnavailable: the database cannot answer, or a lock was not to be had: try again.
    """
    with database.write() as connection:
        _take_the_lock(database, connection)
        if month in partitions.stored(connection):
            _hurry(connection)
            partitions.detach(connection, month)
            here, _ = partitions.pair(str(month))
            if connection.execute(select(here.c.id).where(here.c.state == "held").limit(1)).first():
                connection.rollback()
                return None
            _record(database, connection, old.months[month].newest_day)
    with database.write() as connection, postgresql.patient(connection.connection.driver_connection):
        _take_the_lock(database, connection)
        if month not in partitions.detached(connection):
            return None
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = 0; {postgresql.PLAN_FREELY}")
        count = _count(connection, str(month), old.first_day)
        if count.kept:
            partitions.put_back(connection, month, old.first_day)
        partitions.drop(connection, month)
        return count.calls - count.kept


def parts(database: Database, old: Old) -> list[Part]:
    """The parts of which calls must be deleted one by one."""
    with database.read() as connection:
        ids = connection.execute(select(tenants.c.id).order_by(tenants.c.id)).scalars().all()
    return [Part(suffix, tenant_id) for suffix in old.rows for tenant_id in ids]


def delete_batch(database: Database, part: Part, first_day: str, after: str | None) -> Batch:
    """Delete the next old calls that are not held, in one short transaction.

    They are taken in the order of their ids, in which a tenant's calls lie side by side.

    Args:
        database: the database.
        part: which calls.
        first_day: the first local day that is kept.
        after: the `last` of the batch before; None to begin with.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    calls, attempts = partitions.pair(part.suffix)
    of_tenant = calls.c.tenant_id == part.tenant_id
    old = and_(of_tenant, calls.c.id > (after or NIL), _old(calls, first_day), calls.c.state != "held")
    with database.write() as connection:
        size = AT_ONCE[connection.dialect.name]
        found = select(calls.c.id, calls.c.day).where(old).order_by(calls.c.id).limit(size)
        rows = connection.execute(found.with_for_update(skip_locked=True)).all()
        if rows:
            ids = [row.id for row in rows]
            connection.execute(
                delete(attempts).where(attempts.c.tenant_id == part.tenant_id, attempts.c.call_id.in_(ids))
            )
            connection.execute(delete(calls).where(of_tenant, calls.c.id.in_(ids)))
            _record(database, connection, max(row.day for row in rows))
    return Batch(len(rows), rows[-1].id if len(rows) == size else None)


@dataclass(frozen=True, slots=True)
class _Count:
    """Of one table: its calls, how many of them are held or old, and the newest day of all."""

    calls: int
    held: int
    old: int
    kept: int
    newest_day: str

    @property
    def all_old(self) -> bool:
        """Whether every call in it can go."""
        return not self.kept


def _parts(connection: Connection, first_day: str) -> Iterator[tuple[str | None, Month | None]]:
    """Where old calls may be: the end of the partition's name, and its month."""
    if connection.dialect.name == "sqlite":
        yield None, None
        return
    yield partitions.DEFAULT, None
    for month in partitions.stored(connection):
        if month.following.first_day <= first_day:
            yield str(month), month
    for month in partitions.detached(connection):  # by a run that was killed before it dropped them
        yield str(month), month


def _count(connection: Connection, suffix: str | None, first_day: str) -> _Count:
    here, _ = partitions.pair(suffix)
    held, old = here.c.state == "held", _old(here, first_day)

    def number(of: ColumnElement[bool]) -> ColumnElement[int]:
        return func.coalesce(func.sum(case((of, 1), else_=0)), 0)

    kept = number(or_(held, here.c.day >= first_day))
    figures = (func.count(), number(and_(held, old)), number(and_(old, ~held)), kept, func.max(here.c.day))
    total, held_calls, old_calls, kept_calls, newest_day = connection.execute(select(*figures).select_from(here)).one()
    return _Count(total, held_calls, old_calls, kept_calls, newest_day or "")


def _old(calls: Table, first_day: str) -> ColumnElement[bool]:
    """The bound of the ids spares a look at all younger calls; an id of a clock that is ahead waits until it is old."""
    return and_(calls.c.day < first_day, calls.c.id < str(beyond_ids(first_day)))


def _record(database: Database, connection: Connection, newest_day: str) -> None:
    """Write down that calls up to this local day are gone."""
    since = (date.fromisoformat(newest_day) + timedelta(days=1)).isoformat() if newest_day else ""
    if since <= calls_since(connection):
        return
    installations.find_or_create(connection, database.now(connection))  # locked, so that no other run is in between
    later = or_(installation.c.calls_since.is_(None), installation.c.calls_since < since)
    connection.execute(update(installation).where(later).values(calls_since=since))


def _take_the_lock(database: Database, connection: Connection) -> None:
    if not database.try_lock(connection, partitions.LOCK):
        raise DatabaseUnavailable


def _hurry(connection: Connection) -> None:
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_WAIT_MS}ms'"))
