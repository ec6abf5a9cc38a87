"""Failed logins, counted in windows for an address and for one user from it; and the addresses that a user is known at.

A login is `pending` from before its password is looked at until it has failed or not, so that of any number of logins
that come together no more are tried than failures are allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select, tuple_, update

from chatapi.storage.given import insert_for
from chatapi.storage.tables import known_addresses, login_failures

ADDRESS = ""  # the subject of the count for all users from an address
NOBODY = "00000000-0000-0000-0000-000000000000"
FORGOTTEN_AT_ONCE = 20
MOST_ADDRESSES_OF_A_USER = 50


@dataclass(frozen=True, slots=True)
class LoginKey:
    """Where failures are counted: an address, the subject (a user's digest, or `ADDRESS` for all), a window's start."""

    address: str
    subject: str
    window_start: datetime


@dataclass(frozen=True, slots=True)
class LoginCount:
    """Logins of one key: those that failed and those that are being decided."""

    failures: int = 0
    pending: int = 0


def count(connection: Connection, keys: Sequence[LoginKey]) -> dict[LoginKey, LoginCount]:
    """What is counted for the keys now; keys without a count are absent."""
    columns = login_failures.c
    rows = connection.execute(select(login_failures).where(_any_of(keys)))
    return {
        LoginKey(row.address, row.subject, row.window_start): LoginCount(row.failures, row.pending)
        for row in rows.columns(
            columns.address, columns.subject, columns.window_start, columns.failures, columns.pending
        )
    }


def begin(connection: Connection, keys: Sequence[LoginKey]) -> dict[LoginKey, LoginCount]:
    """Add one pending login to each key. Returns the counts, this login included."""
    columns = login_failures.c
    rows = [
        {"address": key.address, "subject": key.subject, "window_start": key.window_start, "pending": 1}
        for key in sorted(
            keys, key=lambda key: (key.address, key.subject)
        )  # one order, so that no two wait for each other
    ]
    insert = insert_for(connection)(login_failures).values(rows)
    added = insert.on_conflict_do_update(
        index_elements=list(login_failures.primary_key), set_={"pending": columns.pending + 1}
    )
    return _counts(connection.execute(added.returning(login_failures)))


def end(connection: Connection, keys: Sequence[LoginKey], *, failed: bool) -> None:
    """Decide a pending login: it failed, or it is taken back."""
    values = {"pending": login_failures.c.pending - 1}
    if failed:
        values["failures"] = login_failures.c.failures + 1
    locked = select(login_failures.c.subject).where(_any_of(keys)).order_by(login_failures.c.subject).with_for_update()
    connection.execute(locked).all()
    connection.execute(update(login_failures).where(_any_of(keys)).values(values))


def forget(connection: Connection, before: datetime) -> None:
    """Delete a few counts of windows that began before an instant; those that another transaction is at are left."""
    columns = login_failures.c
    key = tuple_(columns.address, columns.subject, columns.window_start)
    old = select(columns.address, columns.subject, columns.window_start).where(columns.window_start < before)
    some = old.order_by(columns.window_start).limit(FORGOTTEN_AT_ONCE).with_for_update(skip_locked=True)
    connection.execute(delete(login_failures).where(key.in_(some)))


def is_known(connection: Connection, tenant_id: str | None, user_id: str | None, address: str) -> bool:
    """Whether the user has logged in from this address before; asked for nobody, it costs the same."""
    columns = known_addresses.c
    place = (columns.tenant_id == (tenant_id or NOBODY), columns.user_id == (user_id or NOBODY))
    return connection.execute(select(columns.address).where(*place, columns.address == address)).first() is not None


def remember(connection: Connection, tenant_id: str, user_id: str, address: str, now: datetime) -> None:
    """Keep that the user has logged in from this address; of many addresses the oldest are forgotten."""
    columns = known_addresses.c
    row = {"tenant_id": tenant_id, "user_id": user_id, "address": address, "last_login_at": now}
    statement = insert_for(connection)(known_addresses).values(row)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(known_addresses.primary_key),
            set_={"last_login_at": now},
            where=columns.last_login_at < now - timedelta(hours=1),
        )
    )
    theirs = (columns.tenant_id == tenant_id, columns.user_id == user_id)
    newest = (
        select(columns.address).where(*theirs).order_by(columns.last_login_at.desc()).offset(MOST_ADDRESSES_OF_A_USER)
    )
    oldest = [row.address for row in connection.execute(newest.limit(FORGOTTEN_AT_ONCE))]
    if oldest:
        connection.execute(delete(known_addresses).where(*theirs, columns.address.in_(oldest)))


def _counts(rows: Iterable[Any]) -> dict[LoginKey, LoginCount]:
    return {LoginKey(row.address, row.subject, row.window_start): LoginCount(row.failures, row.pending) for row in rows}


def _any_of(keys: Sequence[LoginKey]) -> ColumnElement[bool]:
    columns = login_failures.c
    return or_(
        *(
            and_(
                columns.address == key.address, columns.subject == key.subject, columns.window_start == key.window_start
            )
            for key in keys
        )
    )
