"""Tenants: make, find and change them, stop and resume serving them, close them."""

from __future__ import annotations

from uuid_utils import uuid7

from chatapi.domain.actors import Actor
from chatapi.domain.names import name_problem
from chatapi.domain.principals import Role, Status
from chatapi.domain.zones import changed_zone, zone_problem
from chatapi.errors import Forbidden, InvalidInput, NotFound, Taken
from chatapi.logic.changes import Change, Values, change
from chatapi.logic.operators import lock_operators, require_operator
from chatapi.logic.runtime import Runtime
from chatapi.storage import access_tokens, accounts, directory, permissions
from chatapi.storage.accounts import Tenant, Transaction
from chatapi.storage.directory import TenantFilter

__all__ = [
    "Tenant",
    "add_tenant",
    "change_tenant",
    "find_tenant",
    "list_tenants",
    "page_of_tenants",
    "tenant_of_id",
    "tenant_of_name",
    "tenant_to_change",
]

NEAR_LIMIT = ("clamp", "refuse")
VERBS = {Status.ACTIVE: "enable", Status.DISABLED: "disable", Status.CLOSED: "close"}


def list_tenants(runtime: Runtime) -> list[Tenant]:
    """All tenants, sorted by name."""
    with runtime.database.read() as connection:
        return accounts.find_tenants(connection)


def page_of_tenants(
    runtime: Runtime, *, name: str | None = None, status: Status | None = None, after: str | None = None, most: int
) -> list[Tenant]:
    """The next tenants, sorted by name.

    Args:
        name: with which theirs begins.
        after: the name of the last one of the page before.
        most: how many at most.
    """
    with runtime.database.read() as connection:
        return directory.page_of_tenants(connection, TenantFilter(name, status), after, most)


def tenant_of_id(runtime: Runtime, tenant_id: str) -> Tenant:
    """One tenant.

    Raises:
        NotFound: there is none of this id.
    """
    with runtime.database.read() as connection:
        found = directory.find_tenant(connection, tenant_id)
    if found is None:
        raise NotFound("There is no such tenant.")
    return found


def tenant_of_name(runtime: Runtime, name: str) -> Tenant:
    """The tenant of that name, for commands.

    Raises:
        NotFound: there is none.
    """
    with runtime.database.read() as connection:
        found = accounts.find_tenants(connection, [name])
    if not found:
        raise NotFound(f"There is no tenant {name!r}.")
    return found[0]


def add_tenant(runtime: Runtime, actor: Actor, name: str, *, timezone: str | None = None) -> Tenant:
    """Make an active tenant, in the installation's time zone unless another one is given.

    Raises:
        InvalidInput: the name cannot be one, or there is no such time zone.
        Taken: the name is taken.
        Forbidden: the actor is no operator.
    """
    timezone = timezone or runtime.settings.timezone
    _check(name, timezone)
    with change(runtime, actor, Role.OPERATOR) as made:
        if not accounts.insert_tenants(made.connection, {name: str(uuid7())}, timezone, made.now):
            raise Taken(f"There is a tenant {name!r} already.")
        tenant = find_tenant(made.connection, name)
        made.record("tenant.add", tenant.id, "tenant", name, after={"timezone": timezone})
        return tenant


def change_tenant(
    runtime: Runtime,
    actor: Actor,
    tenant_id: str,
    *,
    name: str | None = None,
    status: Status | None = None,
    timezone: str | None = None,
    near_limit: str | None = None,
) -> Tenant:
    """Change what is given of a tenant; None leaves it. Name and status are for operators.

    Args:
        status: disabled and closed stop serving it, at once and in every process; closed is final.
        timezone: takes effect when the tenant's open windows have ended; at once where nothing has been counted yet.
        near_limit: what becomes of a call that fits under a limit only with a shorter completion: one of NEAR_LIMIT.

    Raises:
        InvalidInput: the name, the time zone or the choice cannot be one.
        NotFound: there is no such tenant.
        Taken: the name is taken; the tenant is closed; or it has the last active operator.
        Forbidden: the actor may not change that, or would stop its own tenant.
    """
    _check(name, timezone, near_limit)
    needs = Role.ADMIN if name is None and status is None else Role.OPERATOR
    with change(runtime, actor, needs, tenant_id) as made:
        tenant = tenant_to_change(made.connection, tenant_id)
        operators = lock_operators(made.connection) if status not in (None, Status.ACTIVE) else 0
        if status is not None:
            _change_status(made, tenant, status)
            require_operator(made.connection, operators)
        if timezone is not None:
            _change_zone(made, tenant, timezone)
        if near_limit is not None:
            _change_near_limit(made, tenant, near_limit)
        if name is not None:
            _rename(made, tenant, name)
    return tenant_of_id(runtime, tenant_id)


def find_tenant(connection: Transaction, name: str) -> Tenant:
    """The tenant of that name, for changing it in this transaction.

    Raises:
        NotFound: there is no such tenant.
        Taken: it is closed.
    """
    tenants = accounts.find_tenants(connection, [name], lock=True)
    if not tenants:
        raise NotFound(f"There is no tenant {name!r}.")
    return _open(tenants[0])


def tenant_to_change(connection: Transaction, tenant_id: str) -> Tenant:
    """The tenant of this id, for changing it in this transaction.

    Raises:
        NotFound: there is no such tenant.
        Taken: it is closed.
    """
    tenant = directory.find_tenant(connection, tenant_id, lock=True)
    if tenant is None:
        raise NotFound("There is no such tenant.")
    return _open(tenant)


def _open(tenant: Tenant) -> Tenant:
    if tenant.status is Status.CLOSED:
        raise Taken(f"Tenant {tenant.name!r} is closed.")
    return tenant


def _check(name: str | None, timezone: str | None, near_limit: str | None = None) -> None:
    if name is not None and (problem := name_problem(name)):
        raise InvalidInput(f"The tenant's name {problem}.")
    if timezone is not None and (problem := zone_problem(timezone)):
        raise InvalidInput(problem)
    if near_limit is not None and near_limit not in NEAR_LIMIT:
        raise InvalidInput(f"near_limit must be one of: {', '.join(NEAR_LIMIT)}.")


def _change_status(made: Change, tenant: Tenant, status: Status) -> None:
    claims = made.actor.claims
    if status is not Status.ACTIVE:
        if claims is not None and claims.tenant_id == tenant.id:
            raise Forbidden("Nobody can stop their own tenant. An operator of another tenant can, or a command.")
        access_tokens.revoke_of_tenant(made.connection, tenant.id, made.now)
    accounts.change_tenant(made.connection, tenant.id, status=status.value)
    _record(made, tenant, VERBS[status], {"status": tenant.status.value}, {"status": status.value})


def _change_zone(made: Change, tenant: Tenant, timezone: str) -> None:
    is_counted = accounts.is_counted(made.connection, tenant.id)
    zone = changed_zone(tenant.zone, timezone, made.now, is_counted=is_counted)
    values = {"timezone": zone.name, "next_timezone": zone.next_name, "next_timezone_from": zone.next_from}
    accounts.change_tenant(made.connection, tenant.id, **values)
    before, after = ({"timezone": each.name, "next_timezone": each.next_name} for each in (tenant.zone, zone))
    _record(made, tenant, "set_timezone", before, after)


def _change_near_limit(made: Change, tenant: Tenant, near_limit: str) -> None:
    permissions.set_near_limit(made.connection, tenant.id, near_limit)
    _record(made, tenant, "set_near_limit", {"near_limit": tenant.near_limit}, {"near_limit": near_limit})


def _rename(made: Change, tenant: Tenant, name: str) -> None:
    if not directory.rename_tenant(made.connection, tenant.id, name):
        raise Taken(f"There is a tenant {name!r} already.")
    _record(made, tenant, "rename", {"name": tenant.name}, {"name": name})


def _record(made: Change, tenant: Tenant, verb: str, before: Values, after: Values) -> None:
    made.record(f"tenant.{verb}", tenant.id, "tenant", tenant.name, before=before, after=after)
