"""Tenants and users. Each function runs inside its caller's transaction and commits nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, bindparam, func, insert, select, update
from uuid_utils import uuid7

from chatapi.domain.names import can_be_kept
from chatapi.domain.password_hashes import PREFIX, HashCost, read_parameters
from chatapi.domain.principals import Role, Status
from chatapi.domain.windows import Zone
from chatapi.storage.bulk import batches, count_returned, execute_many
from chatapi.storage.columns import Row
from chatapi.storage.given import insert_for
from chatapi.storage.tables import counters, tenants, usernames, users

NOBODYS_NAME = ""  # asked for instead of what cannot be a name, so that it takes as long

Transaction = Connection  # what logic passes on between `Database.write()` and these functions, without knowing SQL


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as it is kept."""

    id: str
    name: str
    status: Status
    zone: Zone
    near_limit: str  # `clamp` or `refuse`
    created_at: datetime


@dataclass(frozen=True, slots=True)
class User:
    """A user as it is kept, with its tenant's name and status."""

    tenant_id: str
    id: str
    username: str
    role: Role
    status: Status
    tenant_name: str
    tenant_status: Status
    created_at: datetime
    password_hash: str = field(repr=False)
    given_hash: str | None = field(repr=False)

    @property
    def is_active(self) -> bool:
        """Whether the user is served: it and its tenant are active."""
        return self.status is Status.ACTIVE and self.tenant_status is Status.ACTIVE


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user to be made."""

    tenant_id: str
    username: str
    role: Role
    password_hash: str = field(repr=False)
    id: str = field(default_factory=lambda: str(uuid7()))
    status: Status = Status.ACTIVE


def find_tenants(connection: Connection, names: Iterable[str] | None = None, *, lock: bool = False) -> list[Tenant]:
    """Tenants by name, or all of them, sorted by name; with `lock` for changing them in this transaction."""
    statement = select_tenants().order_by(tenants.c.name)
    if lock:
        statement = lock_tenants(statement)
    named = [statement]
    if names is not None:
        named = [statement.where(tenants.c.name.in_(some)) for some in batches(filter(can_be_kept, names))]
    return [read_tenant(row) for some in named for row in connection.execute(some).mappings()]


def hold_tenant(connection: Connection, tenant_id: str) -> None:
    """Keep a tenant from being changed until this transaction ends."""
    connection.execute(select(tenants.c.id).where(tenants.c.id == tenant_id).with_for_update(read=True))


def insert_tenants(connection: Connection, ids: Mapping[str, str], timezone: str, now: datetime) -> int:
    """Make active tenants of these names and ids. Returns how many names were free: when not all, roll back."""
    if not ids:
        return 0
    rows: list[Row] = [{"id": ids[name], "name": name, "timezone": timezone, "created_at": now} for name in sorted(ids)]
    statement = insert_for(connection)(tenants).on_conflict_do_nothing().returning(tenants.c.id)
    return count_returned(connection, statement, rows)


def change_tenant(connection: Connection, tenant_id: str, **values: object) -> None:
    """Set columns of a tenant."""
    connection.execute(update(tenants).where(tenants.c.id == tenant_id).values(**values))


def is_counted(connection: Connection, tenant_id: str) -> bool:
    """Whether anything has ever been counted for a tenant."""
    statement = select(counters.c.tenant_id).where(counters.c.tenant_id == tenant_id).limit(1)
    return connection.execute(statement).first() is not None


def find_user(connection: Connection, username: str, *, lock: bool = False) -> User | None:
    """The user of that name; with `lock` for changing it in this transaction."""
    statement = _by_name().where(usernames.c.username == (username if can_be_kept(username) else NOBODYS_NAME))
    row = connection.execute(statement.with_for_update(of=users) if lock else statement).one_or_none()
    return None if row is None else read_user(row._mapping)


def find_users(connection: Connection, names: Iterable[str], *, lock: bool = False) -> dict[str, User]:
    """The users of these names, by name; with `lock` for changing them in this transaction."""
    found = {}
    for some in batches(filter(can_be_kept, names)):
        statement = _by_name().where(usernames.c.username.in_(some)).order_by(usernames.c.username)
        for row in connection.execute(statement.with_for_update(of=users) if lock else statement).mappings():
            found[row["username"]] = read_user(row)
    return found


def list_users(connection: Connection, tenant_id: str | None = None) -> list[User]:
    """All users, or those of one tenant, sorted by tenant and name."""
    statement = select_users().order_by(tenants.c.name, users.c.username)
    if tenant_id is not None:
        statement = statement.where(users.c.tenant_id == tenant_id)
    return [read_user(row) for row in connection.execute(statement).mappings()]


def hash_costs(connection: Connection) -> set[HashCost]:
    """The costs that the password hashes of all users have. Reads every user."""
    after = func.substr(users.c.password_hash, len(PREFIX) + 1)
    if connection.dialect.name == "sqlite":
        parameters = func.substr(after, 1, func.instr(after, "$") - 1)
    else:
        parameters = func.split_part(after, "$", 1)
    found = (read_parameters(row[0]) for row in connection.execute(select(parameters).distinct()))
    return {cost for cost in found if cost}


def insert_users(connection: Connection, new: Sequence[NewUser], now: datetime) -> int:
    """Make users. Returns how many of their names were free: when not all, roll back."""
    if not new:
        return 0
    rows: list[Row] = [
        {
            "tenant_id": user.tenant_id,
            "id": user.id,
            "username": user.username,
            "role": user.role.value,
            "password_hash": user.password_hash,
            "status": user.status.value,
            "created_at": now,
        }
        for user in new
    ]
    execute_many(connection, insert(users), rows)
    names: list[Row] = [{"username": user.username, "tenant_id": user.tenant_id, "user_id": user.id} for user in new]
    names.sort(key=lambda row: str(row["username"]))  # so that two transactions cannot wait for each other
    statement = insert_for(connection)(usernames).on_conflict_do_nothing().returning(usernames.c.username)
    return count_returned(connection, statement, names)


def change_users(connection: Connection, changes: Sequence[Row]) -> None:
    """Set columns of users: each change has `tenant_id`, `user_id` and the same columns with their new values."""
    if changes:
        matches = (users.c.tenant_id == bindparam("of_tenant"), users.c.id == bindparam("of_user"))
        execute_many(connection, update(users).where(*matches), [_keyed(change) for change in changes])


def select_tenants() -> Select[Any]:
    """What `read_tenant` reads, of all tenants."""
    zone = (tenants.c.timezone, tenants.c.next_timezone, tenants.c.next_timezone_from)
    return select(tenants.c.id, tenants.c.name, tenants.c.status, *zone, tenants.c.near_limit, tenants.c.created_at)


def lock_tenants(statement: Select[Any]) -> Select[Any]:
    """The same, for changing them in this transaction; users may be added to them meanwhile."""
    return statement.with_for_update(key_share=True)


def read_tenant(row: RowMapping) -> Tenant:
    """A row of `select_tenants`."""
    zone = Zone(row["timezone"], row["next_timezone"], row["next_timezone_from"])
    return Tenant(row["id"], row["name"], Status(row["status"]), zone, row["near_limit"], row["created_at"])


def select_users() -> Select[Any]:
    """What `read_user` reads, of all users: by the key of users, for that of usernames is the name."""
    return (
        select(
            users.c.tenant_id,
            users.c.id,
            users.c.username,
            users.c.role,
            users.c.status,
            tenants.c.name.label("tenant_name"),
            tenants.c.status.label("tenant_status"),
            users.c.created_at,
            users.c.password_hash,
            users.c.given_hash,
        )
        .select_from(users)
        .join(tenants, tenants.c.id == users.c.tenant_id)
    )


def _by_name() -> Select[Any]:
    """The same, for those of some usernames."""
    named = (usernames.c.tenant_id == users.c.tenant_id) & (usernames.c.user_id == users.c.id)
    return select_users().join(usernames, named)


def read_user(row: RowMapping) -> User:
    """A row of `select_users`."""
    values: Row = {str(name): value for name, value in row.items()}
    for name, kind in (("role", Role), ("status", Status), ("tenant_status", Status)):
        values[name] = kind(values[name])
    return User(**values)


def _keyed(change: Row) -> Row:
    values = dict(change)
    return {"of_tenant": values.pop("tenant_id"), "of_user": values.pop("user_id"), **values}
