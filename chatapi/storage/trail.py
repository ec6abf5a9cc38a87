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
from chatapi.storage.bulk import batches
from chatapi.storage.columns import Row

__all__ = ["INSTALLATION", "Entry", "KeptEntry", "TrailFilter", "TrailPage", "add", "page"]

LOOKED_AT = {"sqlite": 2000, "postgresql": 10_000}
"""Entries that one page looks through for those that are wanted: milliseconds. Only tenants and ids have an index."""


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


@dataclass(frozen=True, slots=True)
class TrailPage:
    """Some entries, newest first, and the id of the last one that was looked at; None where there are no more."""

    entries: tuple[KeptEntry, ...]
    last: str | None


def add(connection: Connection, *entries: Entry) -> None:
    """Add entries, in the transaction of the changes that they tell."""
    for some in batches(entries):
        connection.execute(insert(trail), [_row(entry) for entry in some])


def page(connection: Connection, wanted: TrailFilter, most: int) -> TrailPage:
    """The newest entries that are wanted, newest first.

    Of a bounded number of entries only: a page may have fewer than `most` entries, and not be the last.
    """
    near = select(trail).order_by(trail.c.id.desc())
    if wanted.tenant_id is not None:
        near = near.where(trail.c.tenant_id == wanted.tenant_id)
    if wanted.before is not None:
        near = near.where(trail.c.id < wanted.before)
    looked_at = LOOKED_AT[connection.dialect.name]
    some = near.limit(looked_at).subquery()
    statement = select(some).order_by(some.c.id.desc()).limit(most + 1)
    for column, value in (
        (some.c.action, wanted.action),
        (some.c.actor, wanted.actor),
        (some.c.subject, wanted.subject),
    ):
        if value is not None:
            statement = statement.where(column == value)
    found = [_kept(row) for row in connection.execute(statement).mappings()]
    if len(found) > most:
        return TrailPage(tuple(found[:most]), found[most - 1].id)
    ids = near.with_only_columns(trail.c.id, maintain_column_froms=True)
    last: str | None = connection.execute(ids.offset(looked_at - 1).limit(1)).scalar()
    return TrailPage(tuple(found), last)


def _row(entry: Entry) -> Row:
    return {
        "tenant_id": entry.tenant_id,
        "id": str(uuid7()),
        "at": entry.at,
        "actor": entry.actor,
        "actor_id": entry.actor_id,
        "address": entry.address,
        "action": entry.action,
        "subject_kind": entry.subject_kind,
        "subject": entry.subject,
        "before": _json(entry.before),
        "after": _json(entry.after),
    }


def _kept(row: RowMapping) -> KeptEntry:
    values: dict[str, Any] = {str(name): value for name, value in row.items()}
    entry_id = str(values.pop("id"))
    for name in ("before", "after"):
        text = values[name]
        values[name] = None if text is None else orjson.loads(text)
    return KeptEntry(entry_id, Entry(**values))


def _json(values: Mapping[str, object] | None) -> str | None:
    return None if values is None else orjson.dumps(dict(values)).decode()
