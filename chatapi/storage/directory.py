"""Tenants and users as administrators look for them: one by its id, or many by pages; and which users are operators.

Each function runs inside its caller's transaction and commits nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, select, update
from sqlalchemy.exc import IntegrityError

from chatapi.domain.principals import Role, Status
from chatapi.storage.accounts import Tenant, User, lock_tenants, read_tenant, read_user, select_tenants, select_users
from chatapi.storage.tables import tenants, users

_OPERATORS = users.c.role == Role.OPERATOR.value


@dataclass(frozen=True, slots=True)
class TenantFilter:
    """Which tenants: those whose name begins so, and of this status; None: any."""

    name: str | None = None
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Which users of a tenant: those whose username begins so, of this role and status; None: any."""

    username: str | None = None
    role: Role | None = None
    status: Status | None = None


def find_tenant(connection: Connection, tenant_id: str, *, lock: bool = False) -> Tenant | None:
    """The tenant of this id; with `lock` for changing it in this transaction."""
    statement = select_tenants().where(tenants.c.id == tenant_id)
    row = connection.execute(lock_tenants(statement) if lock else statement).mappings().one_or_none()
    return None if row is None else read_tenant(row)


def page_of_tenants(connection: Connection, wanted: TenantFilter, after: str | None, most: int) -> list[Tenant]:
    """The next tenants, sorted by name.

    Args:
        after: the name of the last one of the page before.
        most: how many at most.
    """
    statement = select_tenants().order_by(tenants.c.name).limit(most)
    if after is not None:
        statement = statement.where(tenants.c.name > after)
    if wanted.name is not None:
        statement = statement.where(_begins(tenants.c.name, wanted.name))
    if wanted.status is not None:
        statement = statement.where(tenants.c.status == wanted.status.value)
    return [read_tenant(row) for row in connection.execute(statement).mappings()]


def rename_tenant(connection: Connection, tenant_id: str, name: str) -> bool:
    """Give a tenant another name. Returns whether it was free: when not, roll back."""
    try:
        connection.execute(update(tenants).where(tenants.c.id == tenant_id).values(name=name))
    except IntegrityError:
        return False
    return True


def find_user(connection: Connection, tenant_id: str, user_id: str, *, lock: bool = False) -> User | None:
    """The user of this id in this tenant; with `lock` for changing it in this transaction."""
    statement = select_users().where(users.c.tenant_id == tenant_id, users.c.id == user_id)
    row = connection.execute(statement.with_for_update(of=users) if lock else statement).mappings().one_or_none()
    return None if row is None else read_user(row)


def page_of_users(
    connection: Connection, tenant_id: str, wanted: UserFilter, after: str | None, most: int
) -> list[User]:
    """The next users of a tenant, in the order in which they were made, which is that of their key.

    Args:
        after: the id of the last one of the page before.
        most: how many at most.
    """
    statement = select_users().where(users.c.tenant_id == tenant_id).order_by(users.c.id).limit(most)
    if after is not None:
        statement = statement.where(users.c.id > after)
    if wanted.username is not None:
        statement = statement.where(_begins(users.c.username, wanted.username))
    if wanted.role is not None:
        statement = statement.where(users.c.role == wanted.role.value)
    if wanted.status is not None:
        statement = statement.where(users.c.status == wanted.status.value)
    return [read_user(row) for row in connection.execute(statement).mappings()]


def lock_operators(connection: Connection) -> None:
    """Keep all operators from being changed by others until this transaction ends.

    Those that are not active, too: two who lock them while one is enabled would else lock them in different orders.
    """
    statement = select(users.c.id).where(_OPERATORS).order_by(users.c.tenant_id, users.c.id)
    connection.execute(statement.with_for_update()).all()


def count_operators(connection: Connection, tenant_id: str | None = None) -> int:
    """How many active operators there are in active tenants, or in this one of them."""
    statement = select(func.count()).select_from(users).join(tenants, tenants.c.id == users.c.tenant_id)
    active = (users.c.status == Status.ACTIVE.value, tenants.c.status == Status.ACTIVE.value)
    statement = statement.where(_OPERATORS, *active)
    if tenant_id is not None:
        statement = statement.where(tenants.c.id == tenant_id)
    return int(connection.execute(statement).scalar_one())


def _begins(column: ColumnElement[str], text: str) -> ColumnElement[bool]:
    """Whether a text begins so, letter by letter; LIKE means other things on other databases."""
    return func.substr(column, 1, len(text)) == text
