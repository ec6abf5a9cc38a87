"""Leases: a worker owns its calls through a row that it renews; what a dead worker held, any other may expire."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from chatapi.domain.calls import HeldCall
from chatapi.storage.calls import held_call
from chatapi.storage.engine import Database
from chatapi.storage.given import insert_for
from chatapi.storage.ledger import Ledger
from chatapi.storage.tables import calls, workers

SWEEP_LOCK = "chatapi.sweep"
BATCH = 100
FORGET_AFTER = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker whose lease lives, and what it said of upstreams when it renewed it."""

    id: str
    host: str
    pid: int
    renewed_at: datetime
    upstreams: str | None


def living(connection: Connection, now: datetime, lease_s: float) -> list[Worker]:
    """The workers whose lease lives, by host and process."""
    columns = workers.c
    statement = (
        select(columns.id, columns.host, columns.pid, columns.renewed_at, columns.upstreams)
        .where(columns.renewed_at > now - timedelta(seconds=lease_s))
        .order_by(columns.host, columns.pid, columns.id)
    )
    return [Worker(**row) for row in connection.execute(statement).mappings()]


def renew(database: Database, worker_id: str, upstreams: str | None = None) -> None:
    """Say that this worker lives, by the database's clock, and how upstreams are, where that is given."""
    with database.write(urgent=True) as connection:
        now = database.now(connection)
        said = {"renewed_at": now} if upstreams is None else {"renewed_at": now, "upstreams": upstreams}
        row = {"id": worker_id, "host": socket.gethostname(), "pid": os.getpid(), "started_at": now, **said}
        insert: postgresql.Insert | sqlite.Insert = insert_for(connection)(workers).values(row)
        connection.execute(insert.on_conflict_do_update(index_elements=["id"], set_=said))


def ping(database: Database) -> None:
    """Have the database answer.

    Raises:
        DatabaseUnavailable: it does not.
    """
    with database.read() as connection:
        database.now(connection)


def held_by(database: Database, worker_id: str) -> list[HeldCall]:
    """The calls that the ledger holds for this worker."""
    with database.read() as connection:
        rows = connection.execute(select(calls).where(calls.c.worker_id == worker_id, calls.c.state == "held"))
        return [held_call(row) for row in rows.mappings()]


def expire_strays(database: Database, ledger: Ledger, strays: list[HeldCall]) -> int:
    """Expire calls that the ledger holds and nobody runs, batch by batch. Returns how many there were."""
    expired = 0
    for start in range(0, len(strays), BATCH):
        with database.write() as connection:
            expired += ledger.expire(connection, strays[start : start + BATCH])
    return expired


def sweep(database: Database, ledger: Ledger) -> int:
    """Expire one batch of calls whose worker's lease has run out, or that are past their deadline.

    Returns:
        How many expired; 0 when there was nothing to do, or another process is sweeping. Call it until it returns 0.
    """
    with database.read() as connection:
        if not connection.execute(_doomed(database.now(connection), ledger.lease_s).limit(1)).first():
            return 0
    with database.write() as connection:
        if not database.try_lock(connection, SWEEP_LOCK):
            return 0
        now = database.now(connection)
        rows = connection.execute(_doomed(now, ledger.lease_s).limit(BATCH).with_for_update(of=calls, skip_locked=True))
        expired = ledger.expire(connection, [held_call(row) for row in rows.mappings()])
        still_holding = select(calls.c.worker_id).where(calls.c.state == "held")
        forgotten = delete(workers).where(workers.c.renewed_at < now - FORGET_AFTER, workers.c.id.not_in(still_holding))
        connection.execute(forgotten)
        return expired


def _doomed(now: datetime, lease_s: float) -> Select[Any]:
    dead = or_(
        workers.c.id.is_(None), workers.c.renewed_at <= now - timedelta(seconds=lease_s), calls.c.deadline_at <= now
    )
    return (
        select(calls)
        .select_from(calls.outerjoin(workers, workers.c.id == calls.c.worker_id))
        .where(calls.c.state == "held", dead)
        .order_by(calls.c.tenant_id, calls.c.id)
    )
