"""Who has limits: a tenant, one of its users, or an access token of that user's; found by name or by id.

Each function runs inside its caller's transaction and commits nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, Connection, select

from chatapi.domain.names import can_be_kept, is_id
from chatapi.domain.principals import Claims, Role, Status
from chatapi.domain.windows import Zone
from chatapi.storage.tables import access_tokens, tenants, usernames, users


@dataclass(frozen=True, slots=True)
class Holder:
    """A tenant; with a user of it; with an access token of that user's. Its ids, names and the tenant's time zone."""

    tenant_id: str
    tenant: str
    zone: Zone
    is_closed: bool
    user_id: str | None = None
    username: str | None = None
    role: Role = Role.USER
    jti: str | None = None

    @property
    def claims(self) -> Claims:
        """Whose counters its limits are measured by; '' for what it is not."""
        return Claims(self.tenant_id, self.user_id or "", self.jti or "")

    @property
    def ids(self) -> list[str]:
        """Of all that it is."""
        return [each for each in self.claims if each]


def find_tenant(
    connection: Connection, *, name: str | None = None, tenant_id: str | None = None, lock: bool = False
) -> Holder | None:
    """A tenant by its name or its id; with `lock` for changing its limits in this transaction."""
    where = [tenants.c.name == name] if tenant_id is None else [tenants.c.id == tenant_id]
    return None if not _can_be(name, tenant_id) else _find(connection, where, lock=lock)


def find_user(
    connection: Connection,
    *,
    name: str | None = None,
    tenant_id: str | None = None,
    user_id: str | None = None,
    lock: bool = False,
) -> Holder | None:
    """A user by its name, or by its tenant's id and its own."""
    if not _can_be(name, user_id):
        return None
    if user_id is None:
        whose = select(usernames.c.tenant_id, usernames.c.user_id).where(usernames.c.username == name)
        row = connection.execute(whose).one_or_none()
        if row is None:
            return None
        tenant_id, user_id = row
    where = [tenants.c.id == tenant_id, users.c.id == user_id]
    return _find(connection, where, "users", lock=lock)


def find_access_token(
    connection: Connection, jti: str, *, tenant_id: str | None = None, lock: bool = False
) -> Holder | None:
    """An access token by its id; without its tenant's each tenant is asked by its key."""
    if not _can_be(None, jti):
        return None
    where = [access_tokens.c.jti == jti]
    if tenant_id is not None:
        where.append(tenants.c.id == tenant_id)
    return _find(connection, where, "access_tokens", lock=lock)


def _find(
    connection: Connection, where: list[ColumnElement[bool]], what: str = "tenants", *, lock: bool
) -> Holder | None:
    zone = (tenants.c.timezone, tenants.c.next_timezone, tenants.c.next_timezone_from)
    statement = select(tenants.c.id, tenants.c.name, tenants.c.status.label("tenant_status"), *zone).where(*where)
    if what == "access_tokens":
        statement = statement.add_columns(access_tokens.c.jti)
        statement = statement.join(access_tokens, access_tokens.c.tenant_id == tenants.c.id)
        its_user = (users.c.tenant_id == tenants.c.id) & (users.c.id == access_tokens.c.user_id)
        statement = statement.join(users, its_user)
    elif what == "users":
        statement = statement.join(users, users.c.tenant_id == tenants.c.id)
    if what != "tenants":
        statement = statement.add_columns(users.c.id.label("user_id"), users.c.username, users.c.role, users.c.status)
    if lock:
        of = tenants if what == "tenants" else users
        statement = statement.with_for_update(of=of, key_share=True)  # rows that point to it may be added meanwhile
    row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        return None
    closed = Status.CLOSED.value in (row["tenant_status"], row.get("status"))
    its_zone = Zone(row["timezone"], row["next_timezone"], row["next_timezone_from"])
    holder = Holder(row["id"], row["name"], its_zone, closed)
    if what == "tenants":
        return holder
    user_id, username, role = row["user_id"], row["username"], Role(row["role"])
    return replace(holder, user_id=user_id, username=username, role=role, jti=row.get("jti"))


def _can_be(name: str | None, identity: str | None) -> bool:
    """Whether a database can look for it."""
    return is_id(identity) if identity is not None else name is not None and can_be_kept(name)
