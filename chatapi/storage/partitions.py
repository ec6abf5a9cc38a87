"""Partitions: on PostgreSQL calls and their attempts are stored by months (UTC) of the calls' time-ordered ids.

The calls and the attempts of a month are a pair with the same range, and it is the attempts' partition that refers to
the calls' partition. Were the tables themselves to refer to each other, dropping a month would search all attempts for
its calls while every admission waits. What belongs to no month (ids of a clock that is far off) goes to a pair without
a range, so that writing a call never fails for want of a partition.

On SQLite these are plain tables, and nothing here does anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, MetaData, Table, text

from chatapi.domain.retention import Month, months_from
from chatapi.storage.tables import attempts, calls

AHEAD = 2  # months beside the current one
LOCK = "chatapi.partitions"
MOST_MOVED = 5000  # calls, while those whose ids belong to no month wait
DEFAULT = "default"
_PARTITION = re.compile(rf"(calls|attempts)_(\d{{4}}_\d{{2}}|{DEFAULT})")
_NAMES = text(
    "SELECT child.relname FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid"
    " WHERE inhparent = to_regclass('calls') ORDER BY child.relname"
)
_DETACHED = text(
    "SELECT child.relname FROM pg_class AS child JOIN pg_class AS whole ON whole.relnamespace = child.relnamespace"
    " WHERE whole.oid = to_regclass('calls') AND child.relkind = 'r' AND NOT child.relispartition"
    " AND child.relname ~ '^calls_[0-9]{4}_[0-9]{2}$' ORDER BY child.relname"
)
_IS_PARTITIONED = text("SELECT count(*) FROM pg_partitioned_table WHERE partrelid = to_regclass('calls')")

Pair = tuple[Table, Table]  # calls and attempts


def stored(connection: Connection) -> list[Month]:
    """The months that have partitions, the oldest first."""
    return [Month.parse(name) for name in _suffixes(connection) if name != DEFAULT]


def detached(connection: Connection) -> list[Month]:
    """The months that were taken out of the tables and not dropped yet, the oldest first."""
    if connection.dialect.name == "sqlite":
        return []
    found = (_PARTITION.fullmatch(name) for name in connection.execute(_DETACHED).scalars())
    return [Month.parse(match[2]) for match in found if match]


def missing(connection: Connection, now: datetime) -> list[Month]:
    """The months, of the current one and those after it, that have no partition yet. A cheap look at the catalogue."""
    if connection.dialect.name == "sqlite":
        return []
    there = set(stored(connection))
    return [month for month in months_from(now, AHEAD) if month not in there]


def make_ahead(connection: Connection, now: datetime) -> list[Month]:
    """Make the partitions that are missing, in the caller's transaction. Returns the months that were made."""
    return make(connection, missing(connection, now))


def make(connection: Connection, months: Sequence[Month]) -> list[Month]:
    """Make the partitions of these months, as far as they are not there. Returns those that were made.

    Admissions go on meanwhile: attaching locks neither table against reading and writing, only the pair without a
    range, which is empty unless clocks were wrong or nobody made partitions in time.
    """
    if connection.dialect.name == "sqlite" or not connection.execute(_IS_PARTITIONED).scalar():
        return []
    if DEFAULT not in _suffixes(connection):
        for table in ("calls", "attempts"):
            _do(connection, f"CREATE TABLE {table}_{DEFAULT} PARTITION OF {table} DEFAULT")
        _refer(connection, DEFAULT)
    there = set(stored(connection))
    return [month for month in months if month not in there and _make(connection, month)]


def hold(connection: Connection) -> None:
    """Keep every month from being dropped until this transaction ends; before its first query, which sees it all."""
    if connection.dialect.name != "sqlite":
        _do(connection, "LOCK TABLE calls, attempts IN ACCESS SHARE MODE")


def detach(connection: Connection, month: Month) -> None:
    """Take a month out of the tables, in the caller's transaction; they are locked against everybody until it ends."""
    _do(connection, "LOCK TABLE ONLY calls, ONLY attempts IN ACCESS EXCLUSIVE MODE")
    for table in ("calls", "attempts"):
        _do(connection, f"ALTER TABLE {table} DETACH PARTITION {table}_{month}")


def put_back(connection: Connection, month: Month, first_day: str) -> None:
    """Write calls of a detached month that must stay into the tables again, where they belong to no month."""
    stays = f"day >= '{first_day}' OR state = 'held'"
    _do(connection, f"INSERT INTO calls SELECT * FROM calls_{month} WHERE {stays} ON CONFLICT DO NOTHING")
    of_them = f"(tenant_id, call_id) IN (SELECT tenant_id, id FROM calls_{month} WHERE {stays})"
    _do(connection, f"INSERT INTO attempts SELECT * FROM attempts_{month} WHERE {of_them} ON CONFLICT DO NOTHING")


def drop(connection: Connection, month: Month) -> None:
    """Drop a detached month. Nobody else has to do with it any more."""
    _do(connection, f"DROP TABLE attempts_{month}, calls_{month}")


def pair(suffix: str | None) -> Pair:
    """The calls and attempts of one pair of partitions, by the end of their names; the tables themselves for None."""
    if suffix is None:
        return calls, attempts
    names = MetaData()
    return calls.to_metadata(names, name=f"calls_{suffix}"), attempts.to_metadata(names, name=f"attempts_{suffix}")


def compared(connection: Connection) -> Callable[..., bool]:
    """For Alembic's `include_object`: what the metadata do not say, or say for SQLite only, is not compared."""

    def include(_object: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
        if connection.dialect.name == "sqlite":
            return True
        if kind == "table":
            return _PARTITION.fullmatch(name or "") is None
        return not (kind == "foreign_key_constraint" and name == "fk_attempts_calls")

    return include


def _suffixes(connection: Connection) -> list[str]:
    found = (_PARTITION.fullmatch(name) for name in connection.execute(_NAMES).scalars())
    return [match[2] for match in found if match]


def _make(connection: Connection, month: Month) -> bool:
    """Make one month. False when calls without a partition reach to its very end, which leaves nothing to store in it.

    A partition cannot be made while its calls lie in the pair without a range. A few are moved; where there are many
    (nobody made partitions for long), they stay, and the partition begins behind the last of them.
    """
    for table in ("calls", "attempts"):
        _do(connection, f"CREATE TABLE {table}_{month} (LIKE {table} INCLUDING ALL)")
    _refer(connection, str(month))
    _do(connection, "LOCK TABLE ONLY calls, ONLY attempts IN SHARE UPDATE EXCLUSIVE MODE")
    _do(connection, f"LOCK TABLE calls_{DEFAULT}, attempts_{DEFAULT} IN ACCESS EXCLUSIVE MODE")
    begin, end = month.first_id, month.following.first_id
    astray = f"id >= '{begin}' AND id < '{end}'"
    found = connection.exec_driver_sql(
        f"SELECT id FROM calls_{DEFAULT} WHERE {astray} ORDER BY id DESC LIMIT {MOST_MOVED + 1}"
    )
    ids = [UUID(str(row[0])) for row in found]
    if len(ids) > MOST_MOVED:
        begin = UUID(int=ids[0].int + 1)
    elif ids:
        _move(connection, month, astray)
    if begin >= end:
        _do(connection, f"DROP TABLE attempts_{month}, calls_{month}")
        return False
    for table in ("calls", "attempts"):
        _do(
            connection,
            f"ALTER TABLE {table} ATTACH PARTITION {table}_{month} FOR VALUES FROM ('{begin}') TO ('{end}')",
        )
    return True


def _move(connection: Connection, month: Month, astray: str) -> None:
    of_attempts = astray.replace("id ", "call_id ")
    _do(connection, f"INSERT INTO calls_{month} SELECT * FROM calls_{DEFAULT} WHERE {astray}")
    _do(connection, f"INSERT INTO attempts_{month} SELECT * FROM attempts_{DEFAULT} WHERE {of_attempts}")
    _do(connection, f"DELETE FROM attempts_{DEFAULT} WHERE {of_attempts}")
    _do(connection, f"DELETE FROM calls_{DEFAULT} WHERE {astray}")


def _refer(connection: Connection, suffix: str) -> None:
    _do(
        connection,
        f"ALTER TABLE attempts_{suffix} ADD CONSTRAINT fk_attempts_calls_{suffix}"
        f" FOREIGN KEY (tenant_id, call_id) REFERENCES calls_{suffix} (tenant_id, id)",
    )


def _do(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement)
