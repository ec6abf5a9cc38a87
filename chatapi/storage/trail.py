"""The trail: who changed what, when and from where. Rows are only ever added; the database refuses anything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, RowMapping, insert, select
from uuid_utils import uuid7

from chatapi.storage.admin_tables import INSTALLATION, trail

__all__ = ["INSTALLATION", "Entry", "KeptEntry", "TrailFilter", "add", "page"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One change, to be added."""

    tenant_id: str
    at: datetime
    actor: str
    actor_id: str | None
    address: str
    action: str
    subject_kind: str
    subject: str
    before: Mapping[str, object] | None
    after: Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class KeptEntry:
    """An entry, and its id: a later one is greater."""

    id: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class TrailFilter:
    """Which entries: of a tenant (None: of all, and of the installation), older than the one of the id `before`, ..."""

    tenant_id: str | None = None
    before: str | None = None
    action: str | None = None
    actor: str | None = None
    subject: str | None = None


def add(connection: Connection, entry: Entry) -> None:
    """Add an entry, in the transaction of the change that it tells."""
    connection.execute(
        insert(trail).values(
            tenant_id=entry.tenant_id,
            id=str(uuid7()),
            at=entry.at,
            actor=entry.actor,
            actor_id=entry.actor_id,
            address=entry.address,
            action=entry.action,
            subject_kind=entry.subject_kind,
            subject=entry.subject,
            before=_json(entry.before),
            after=_json(entry.after),
        )
    )


def page(connection: Connection, wanted: TrailFilter, most: int) -> list[KeptEntry]:
    """The newest entries that are wanted, at most so many, newest first."""
    statement = select(trail).order_by(trail.c.id.desc()).limit(most)
    for column, value in (
        (trail.c.tenant_id, wanted.tenant_id),
        (trail.c.action, wanted.action),
        (trail.c.actor, wanted.actor),
        (trail.c.subject, wanted.subject),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if wanted.before is not None:
        statement = statement.where(trail.c.id < wanted.before)
    return [_kept(row) for row in connection.execute(statement).mappings()]


def _kept(row: RowMapping) -> KeptEntry:
    values: dict[str, Any] = {str(name): value for name, value in row.items()}
    entry_id = str(values.pop("id"))
    for name in ("before", "after"):
        text = values[name]
        values[name] = None if text is None else orjson.loads(text)
    return KeptEntry(entry_id, Entry(**values))


def _json(values: Mapping[str, object] | None) -> str | None:
    return None if values is None else orjson.dumps(dict(values)).decode()
