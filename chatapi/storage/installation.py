"""The one row of the installation: its id, and the fingerprint of the secret that signs its access tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update
from uuid_utils import uuid7

from chatapi.storage.given import insert_for
from chatapi.storage.tables import installation


@dataclass(frozen=True, slots=True)
class Installation:
    """The installation that a database belongs to. `jwt_fingerprint` is None until a secret is bound to it."""

    id: str
    jwt_fingerprint: str | None


def find(connection: Connection) -> Installation | None:
    """The installation; None where nothing was ever served."""
    row = connection.execute(select(installation.c.id, installation.c.jwt_fingerprint)).one_or_none()
    return None if row is None else Installation(row.id, row.jwt_fingerprint)


def find_or_create(connection: Connection, now: datetime) -> Installation:
    """The installation, made when it is not there, and locked: of machines that start at once one comes first."""
    row = {"singleton": 1, "id": str(uuid7()), "created_at": now}
    connection.execute(insert_for(connection)(installation).values(row).on_conflict_do_nothing())
    columns = installation.c
    found = connection.execute(select(columns.id, columns.jwt_fingerprint).with_for_update()).one()
    return Installation(found.id, found.jwt_fingerprint)


def bind_secret(connection: Connection, jwt_fingerprint: str) -> None:
    """Keep the fingerprint of the secret that signs access tokens from now on."""
    connection.execute(update(installation).values(jwt_fingerprint=jwt_fingerprint))
