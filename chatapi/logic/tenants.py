"""Tenants: make them, list them, stop and resume serving them, set their time zones."""

from __future__ import annotations

from datetime import datetime

from uuid_utils import uuid7

from chatapi.domain.names import name_problem
from chatapi.domain.principals import Status
from chatapi.domain.zones import changed_zone, zone_problem
from chatapi.errors import InvalidInput
from chatapi.logic.runtime import Runtime
from chatapi.storage import access_tokens, accounts
from chatapi.storage.accounts import Tenant, Transaction


def list_tenants(runtime: Runtime) -> list[Tenant]:
    """All tenants, sorted by name."""
    with runtime.database.read() as connection:
        return accounts.find_tenants(connection)


def add_tenant(runtime: Runtime, name: str, *, timezone: str | None = None) -> None:
    """Make an active tenant, in the installation's time zone unless another one is given.

    Raises:
        InvalidInput: the name cannot be one or is taken, or there is no such time zone.
    """
    timezone = timezone or runtime.settings.timezone
    if problem := name_problem(name):
        raise InvalidInput(f"The tenant's name {problem}.")
    if problem := zone_problem(timezone):
        raise InvalidInput(problem)
    with runtime.database.write() as connection:
        now = runtime.database.now(connection)
        if not accounts.insert_tenants(connection, {name: str(uuid7())}, timezone, now):
            raise InvalidInput(f"There is a tenant {name!r} already.")


def disable_tenant(runtime: Runtime, name: str) -> int:
    """Stop serving a tenant, at once and in every process. Returns how many of its access tokens were revoked.

    Raises:
        InvalidInput: there is no such tenant, or it is closed.
    """
    with runtime.database.write() as connection:
        tenant = find_tenant(connection, name)
        accounts.change_tenant(connection, tenant.id, status=Status.DISABLED.value)
        return access_tokens.revoke_of_tenant(connection, tenant.id, runtime.database.now(connection))


def enable_tenant(runtime: Runtime, name: str) -> None:
    """Serve a tenant again; its users log in anew.

    Raises:
        InvalidInput: there is no such tenant, or it is closed.
    """
    with runtime.database.write() as connection:
        accounts.change_tenant(connection, find_tenant(connection, name).id, status=Status.ACTIVE.value)


def set_timezone(runtime: Runtime, name: str, timezone: str) -> datetime | None:
    """Change a tenant's time zone, when its open windows have ended. Returns that instant; None for at once.

    A tenant for which nothing has been counted yet has no open windows: it changes at once.

    Raises:
        InvalidInput: there is no such tenant or time zone, or the tenant is closed.
    """
    if problem := zone_problem(timezone):
        raise InvalidInput(problem)
    with runtime.database.write() as connection:
        tenant = find_tenant(connection, name)
        is_counted = accounts.is_counted(connection, tenant.id)
        zone = changed_zone(tenant.zone, timezone, runtime.database.now(connection), is_counted=is_counted)
        values = {"timezone": zone.name, "next_timezone": zone.next_name, "next_timezone_from": zone.next_from}
        accounts.change_tenant(connection, tenant.id, **values)
    return zone.next_from


def find_tenant(connection: Transaction, name: str) -> Tenant:
    """The tenant of that name, for changing it in this transaction.

    Raises:
        InvalidInput: there is no such tenant, or it is closed.
    """
    tenants = accounts.find_tenants(connection, [name], lock=True)
    if not tenants:
        raise InvalidInput(f"There is no tenant {name!r}.")
    if tenants[0].status is Status.CLOSED:
        raise InvalidInput(f"Tenant {name!r} is closed.")
    return tenants[0]
