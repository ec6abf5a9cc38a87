"""What administrators do, as commands do it: by names, and as whoever runs a command on the machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from chatapi.domain.principals import Role, Status
from chatapi.domain.user_csv import UserRow
from chatapi.logic import tenants, user_imports, users
from chatapi.logic.actors import command_actor
from chatapi.logic.runtime import Runtime
from chatapi.logic.user_imports import ImportReport
from chatapi.storage.accounts import Tenant


def add_user(
    runtime: Runtime, username: str, password: str = "secret", *, tenant: str = "default", role: Role = Role.USER
) -> None:
    """Make a user, and its tenant where there is none."""
    users.add_user(runtime, command_actor(), username, password, tenant=tenant, role=role)


def set_status(runtime: Runtime, username: str, status: Status) -> None:
    """Disable, enable or close a user."""
    user = users.user_of_name(runtime, username)
    users.change_user(runtime, command_actor(), user.tenant_id, user.id, status=status)


def set_password(runtime: Runtime, username: str, password: str) -> None:
    """Give a user another password."""
    user = users.user_of_name(runtime, username)
    users.set_password(runtime, command_actor(), user.tenant_id, user.id, password)


def add_tenant(runtime: Runtime, name: str, *, timezone: str | None = None) -> Tenant:
    """Make a tenant."""
    return tenants.add_tenant(runtime, command_actor(), name, timezone=timezone)


def set_tenant_status(runtime: Runtime, name: str, status: Status) -> Tenant:
    """Disable, enable or close a tenant."""
    tenant = tenants.tenant_of_name(runtime, name)
    return tenants.change_tenant(runtime, command_actor(), tenant.id, status=status)


def set_timezone(runtime: Runtime, name: str, timezone: str) -> datetime | None:
    """Change a tenant's time zone; when that begins, None for at once."""
    tenant = tenants.tenant_of_name(runtime, name)
    return tenants.change_tenant(runtime, command_actor(), tenant.id, timezone=timezone).zone.next_from


def import_users(
    runtime: Runtime,
    rows: Sequence[UserRow],
    *,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Import a file of users."""
    return user_imports.import_users(runtime, command_actor(), rows, dry_run=dry_run, progress=progress)
