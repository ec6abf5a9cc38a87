"""`chatapi grants`: grant more of a limit for the day or month that is open, list grants, and withdraw them."""

from __future__ import annotations

import click

from chatapi.cli.context import with_runtime
from chatapi.cli.limits import readable, with_place
from chatapi.cli.output import EXIT_CODES, show
from chatapi.domain.effective_limits import LimitPlace, read_limit
from chatapi.domain.limits import Metric
from chatapi.logic import grants as logic
from chatapi.logic.actors import command_actor
from chatapi.logic.explain import utc
from chatapi.logic.grants import ShownGrant
from chatapi.logic.limit_targets import LimitTarget
from chatapi.logic.runtime import Runtime

COLUMNS = (
    "id", "tenant", "scope", "user", "access_token", "metric", "window", "window_key", "model", "value", "reason",
    "granted_at", "withdrawn_at",
)  # fmt: skip


@click.group(epilog=EXIT_CODES)
def grants() -> None:
    """Grant more of a limit for the day or month that is open, list grants, and withdraw them."""


@grants.command(epilog=EXIT_CODES)
@click.argument("value")
@click.option("--user", help="To this user.")
@click.option("--access-token", metavar="ID", help="To this access token.")
@click.option("--tenant", help="To this tenant as a whole.")
@with_place(("day", "month"))
@click.option("--reason", default="", help="For people who read the list.")
@with_runtime
def add(
    runtime: Runtime,
    value: str,
    *,
    user: str | None,
    access_token: str | None,
    tenant: str | None,
    place: LimitPlace,
    reason: str,
) -> None:
    """Grant VALUE more requests, tokens or US dollars than a limit allows, from the next call on and until the day or
    month ends that is open now at the tenant's. Several add up. Standard output is the grant's id.

    Where there is no limit there is nothing to grant: that is refused.
    """
    target = LimitTarget.of(user=user, access_token=access_token, tenant=tenant)
    grant = logic.add_grant(runtime, command_actor(), target, place, _amount(value, place.metric), reason)
    click.echo(grant.id)
    click.echo(f"{place}, {target}: {value} more until {utc(grant.ends_at)}", err=True)


def _amount(value: str, metric: Metric) -> int:
    try:
        amount = read_limit(value, metric)
    except ValueError:
        amount = 0
    if not isinstance(amount, int) or amount < 1:
        problem = "must be a whole number of 1 or more, or of cost an amount of dollars, such as 12.50"
        raise click.BadParameter(problem, param_hint="VALUE")
    return amount


@grants.command("list", epilog=EXIT_CODES)
@click.option("--user", help="To this user.")
@click.option("--access-token", metavar="ID", help="To this access token.")
@click.option("--tenant", help="To this tenant, its users and their access tokens.")
@click.option("--all", "everything", is_flag=True, help="Also those that were withdrawn, or whose window is over.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list; cost in nano-dollars.")
@with_runtime
def list_grants(
    runtime: Runtime, user: str | None, access_token: str | None, tenant: str | None, everything: bool, as_json: bool
) -> None:
    """List the grants that count now, newest first; without a name, those of all tenants."""
    target = None
    if not user is access_token is tenant is None:
        target = LimitTarget.of(user=user, access_token=access_token, tenant=tenant)
    rows = [_row(shown, as_json=as_json) for shown in logic.all_grants(runtime, target, open_only=not everything)]
    show(rows, COLUMNS, as_json=as_json)


def _row(shown: ShownGrant, *, as_json: bool) -> dict[str, object]:
    grant = shown.grant
    return {
        "id": grant.id,
        "tenant": shown.tenant,
        "scope": grant.scope.value,
        "user": shown.username,
        "access_token": grant.scope_id if grant.scope == "access_token" else None,
        "metric": grant.metric.value,
        "window": grant.window.value,
        "window_key": grant.window_key,
        "model": grant.model,
        "value": grant.value if as_json else readable(grant.value, grant.metric),
        "reason": grant.reason,
        "granted_at": utc(grant.granted_at),
        "ends_at": utc(grant.ends_at),
        "withdrawn_at": utc(grant.withdrawn_at) if grant.withdrawn_at else None,
        "in_force": shown.in_force,
    }


@grants.command(epilog=EXIT_CODES)
@click.argument("grant_id", metavar="ID")
@with_runtime
def withdraw(runtime: Runtime, grant_id: str) -> None:
    """Take back what is left of a grant, from the next call on. What was used of it stays used: then the limit is
    exceeded, and calls are denied until the window ends."""
    logic.withdraw_grant(runtime, command_actor(), grant_id)
    click.echo(f"Grant {grant_id} is withdrawn.", err=True)
