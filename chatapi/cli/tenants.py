"""`chatapi tenants`: list, add, disable and enable them, set their time zones, and what happens near their limits."""

from __future__ import annotations

import click

from chatapi.cli.context import with_runtime
from chatapi.cli.output import EXIT_CODES, show
from chatapi.logic import permissions
from chatapi.logic import tenants as logic
from chatapi.logic.runtime import Runtime


@click.group(epilog=EXIT_CODES)
def tenants() -> None:
    """List, add, disable and enable tenants; set their time zones."""


@tenants.command("list", epilog=EXIT_CODES)
@click.option("--json", "as_json", is_flag=True, help="A JSON list.")
@with_runtime
def list_tenants(runtime: Runtime, as_json: bool) -> None:
    """List tenants, sorted by name."""
    rows = [
        {
            "tenant": tenant.name,
            "status": tenant.status.value,
            "timezone": tenant.zone.name,
            "next_timezone": tenant.zone.next_name,
            "next_timezone_from": tenant.zone.next_from.isoformat() if tenant.zone.next_from else None,
        }
        for tenant in logic.list_tenants(runtime)
    ]
    show(rows, ("tenant", "status", "timezone", "next_timezone", "next_timezone_from"), as_json=as_json)


@tenants.command(epilog=EXIT_CODES)
@click.argument("tenant")
@click.option("--timezone", help="IANA name; the installation's (CHATAPI_TIMEZONE) by default.")
@with_runtime
def add(runtime: Runtime, tenant: str, timezone: str | None) -> None:
    """Add a tenant."""
    logic.add_tenant(runtime, tenant, timezone=timezone)
    click.echo(f"Tenant {tenant} was added.", err=True)


@tenants.command(epilog=EXIT_CODES)
@click.argument("tenant")
@with_runtime
def disable(runtime: Runtime, tenant: str) -> None:
    """Stop serving a tenant, and end the access tokens of its users at once."""
    revoked = logic.disable_tenant(runtime, tenant)
    click.echo(f"Tenant {tenant} is disabled; {revoked} access tokens were revoked.", err=True)


@tenants.command(epilog=EXIT_CODES)
@click.argument("tenant")
@with_runtime
def enable(runtime: Runtime, tenant: str) -> None:
    """Serve a tenant again; its users must log in anew."""
    logic.enable_tenant(runtime, tenant)
    click.echo(f"Tenant {tenant} is enabled.", err=True)


@tenants.command("set-timezone", epilog=EXIT_CODES)
@click.argument("tenant")
@click.argument("timezone")
@with_runtime
def set_timezone(runtime: Runtime, tenant: str, timezone: str) -> None:
    """Change where a tenant's days and months begin; TIMEZONE is an IANA name such as Europe/Berlin.

    The change takes effect when the current month has ended, so that no window is counted twice; at once for a tenant
    that has made no call yet.
    """
    begins = logic.set_timezone(runtime, tenant, timezone)
    when = f"from {begins.isoformat()} on" if begins else "from now on"
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
    permissions.set_near_limit(runtime, tenant, what)
    what_is_done = "are shortened" if what == "clamp" else "are denied"
    click.echo(f"Calls of tenant {tenant} that do not fit whole {what_is_done}.", err=True)
