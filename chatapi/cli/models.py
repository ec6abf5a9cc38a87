"""`chatapi models`: say who may use which; with `cli/prices.py`, what they cost."""

from __future__ import annotations

import click

from chatapi.cli.context import with_runtime
from chatapi.cli.output import EXIT_CODES, show
from chatapi.cli.prices import drop_price, list_overrides, price, set_price
from chatapi.errors import InvalidInput
from chatapi.logic import permissions
from chatapi.logic.actors import command_actor
from chatapi.logic.runtime import Runtime
from chatapi.logic.tenants import tenant_of_id, tenant_of_name
from chatapi.logic.users import user_of_name

of_tenant = click.option("--tenant", help="This tenant, all its users together.")
of_user = click.option("--user", help="This user; what its tenant may not use, it may not either.")


@click.group(epilog=EXIT_CODES)
def models() -> None:
    """Say which models tenants and users may use, and what models cost."""


@models.command(epilog=EXIT_CODES)
@click.argument("patterns", nargs=-1)
@of_tenant
@of_user
@click.option("--all", "every", is_flag=True, help="Allow all models again.")
@with_runtime
def allow(runtime: Runtime, patterns: tuple[str, ...], tenant: str | None, user: str | None, *, every: bool) -> None:
    """Allow a tenant or a user the models that fit PATTERNS, and no others, from the next call on.

    A pattern is the name of a model, or one with * and ? in it, such as "gpt-4o*" (in quotation marks, for the shell
    reads them too). Aliases stand for their models: allow those.
    """
    if every == bool(patterns):
        raise InvalidInput("Name patterns of the models that are allowed, or say --all, and not both.")
    tenant_id, user_id = _ids(runtime, tenant, user)
    permissions.allow_models(runtime, command_actor(), tenant_id, user_id, None if every else patterns)
    allowed = "all models" if every else ", ".join(patterns)
    click.echo(f"{'Tenant' if user is None else 'User'} {tenant or user} may use {allowed}.", err=True)


@models.command("allowed", epilog=EXIT_CODES)
@of_tenant
@of_user
@click.option("--json", "as_json", is_flag=True, help="A JSON list; models null is all.")
@with_runtime
def allowed(runtime: Runtime, tenant: str | None, user: str | None, *, as_json: bool) -> None:
    """Show which models a tenant or a user may use: those that fit every line."""
    tenant_id, user_id = _ids(runtime, tenant, user)
    of_tenant, of_user = permissions.allowed_models(runtime, tenant_id, user_id)
    found = {f"tenant {tenant_of_id(runtime, tenant_id).name}": of_tenant}
    found |= {} if user is None else {f"user {user}": of_user}
    if as_json:
        rows = [{"whose": whose, "models": patterns} for whose, patterns in found.items()]
    else:
        rows = [{"whose": whose, "models": "all" if some is None else ", ".join(some)} for whose, some in found.items()]
    show(rows, ("whose", "models"), as_json=as_json)


def _ids(runtime: Runtime, tenant: str | None, user: str | None) -> tuple[str, str | None]:
    """The ids of the tenant, or of the user and its tenant, that is named."""
    if tenant is not None and user is None:
        return tenant_of_name(runtime, tenant).id, None
    if user is not None and tenant is None:
        found = user_of_name(runtime, user)
        return found.tenant_id, found.id
    raise InvalidInput("Name a tenant or a user, and not both.")


for command in (price, set_price, list_overrides, drop_price):
    models.add_command(command)
