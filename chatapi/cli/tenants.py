"""`chatapi tenants`: list, add, rename, stop, resume and close them, set time zones and what happens near limits."""

from __future__ import annotations

import click

from chatapi.cli.context import with_runtime
from chatapi.cli.output import EXIT_CODES, show
from chatapi.domain.principals import Status
from chatapi.logic import tenants as logic
from chatapi.logic.actors import command_actor
from chatapi.logic.explain import utc
from chatapi.logic.runtime import Runtime
from chatapi.logic.tenants import Tenant


@click.group(epilog=EXIT_CODES)
def tenants() -> None:
    """List, add, rename, disable, enable and close tenants; set time zones, and what happens near limits."""


@tenants.command("list", epilog=EXIT_CODES)
@click.option("--json", "as_json", is_flag=True, help="A JSON list.")
@with_runtime
def list_tenants(runtime: Runtime, as_json: bool) -> None:
    """List tenants, sorted by name."""
    rows = [
        {
            "id": tenant.id,
            "tenant": tenant.name,
            "status": tenant.status.value,
            "timezone": tenant.zone.name,
            "next_timezone": tenant.zone.next_name,
            "next_timezone_from": utc(tenant.zone.next_from) if tenant.zone.next_from else None,
            "near_limit": tenant.near_limit,
        }
        for tenant in logic.list_tenants(runtime)
    ]
    show(rows, ("tenant", "status", "timezone", "next_timezone", "next_timezone_from", "near_limit"), as_json=as_json)


@tenants.command(epilog=EXIT_CODES)
@click.argument("tenant")
@click.option("--timezone", help="IANA name; the installation's (CHATAPI_TIMEZONE) by default.")
@with_runtime
def add(runtime: Runtime, tenant: str, timezone: str | None) -> None:
    """Add a tenant."""
    logic.add_tenant(runtime, command_actor(), tenant, timezone=timezone)
    click.echo(f"Tenant {tenant} was added.", err=True)


@tenants.command(epilog=EXIT_CODES)
@click.argument("tenant")
@click.argument("name")
@with_runtime
def rename(runtime: Runtime, tenant: str, name: str) -> None:
    """Give a tenant another NAME; its users, limits and history stay with it."""
    _change(runtime, tenant, name=name)
    click.echo(f"Tenant {tenant} is now {name}.", err=True)


@tenants.command(epilog=EXIT_CODES)
@click.argument("tenant")
@with_runtime
def disable(runtime: Runtime, tenant: str) -> None:
    """Stop serving a tenant, and end the access tokens of its users at once."""
    _change(runtime, tenant, status=Status.DISABLED)
    click.echo(f"Tenant {tenant} is disabled; the access tokens of its users were revoked.", err=True)


@tenants.command(epilog=EXIT_CODES)
@click.argument("tenant")
@with_runtime
def enable(runtime: Runtime, tenant: str) -> None:
    """Serve a tenant again; its users must log in anew."""
    _change(runtime, tenant, status=Status.ACTIVE)
    click.echo(f"Tenant {tenant} is enabled.", err=True)


@tenants.command(epilog=EXIT_CODES)
@click.argument("tenant")
@with_runtime
def close(runtime: Runtime, tenant: str) -> None:
    """Stop serving a tenant for ever. What it used stays in the ledger, and reports show it."""
    _change(runtime, tenant, status=Status.CLOSED)
    click.echo(f"Tenant {tenant} is closed.", err=True)


@tenants.command("set-timezone", epilog=EXIT_CODES)
@click.argument("tenant")
@click.argument("timezone")
@with_runtime
def set_timezone(runtime: Runtime, tenant: str, timezone: str) -> None:
    """Change where a tenant's days and months begin; TIMEZONE is an IANA name such as Europe/Berlin.

    The change takes effect when the current month has ended, so that no window is counted twice; at once for a tenant
    that has made no call yet.
    """
    begins = _change(runtime, tenant, timezone=timezone).zone.next_from
    when = f"from {utc(begins)} on" if begins else "from now on"
    click.echo(f"Tenant {tenant} has the time zone {timezone} {when}.", err=True)


@tenants.command("near-limit", epilog=EXIT_CODES)
@click.argument("tenant")
@click.argument("what", type=click.Choice(["clamp", "refuse"]))
@with_runtime
def near_limit(runtime: Runtime, tenant: str, what: str) -> None:
    """Say what becomes of a tenant's call that fits under a limit only with a shorter completion than was asked for.

    "clamp" (as it is at first) has it answered as far as the limit allows, and the reply says so
    (x-chatapi-clamped); "refuse" denies it.
    """
    _change(runtime, tenant, near_limit=what)
    what_is_done = "are shortened" if what == "clamp" else "are denied"
    click.echo(f"Calls of tenant {tenant} that do not fit whole {what_is_done}.", err=True)


def _change(
    runtime: Runtime,
    tenant: str,
    *,
    name: str | None = None,
    status: Status | None = None,
    timezone: str | None = None,
    near_limit: str | None = None,
) -> Tenant:
    tenant_id = logic.tenant_of_name(runtime, tenant).id
    return logic.change_tenant(
        runtime, command_actor(), tenant_id, name=name, status=status, timezone=timezone, near_limit=near_limit
    )
