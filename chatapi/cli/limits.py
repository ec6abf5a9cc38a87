"""`chatapi limits`: set limits, and show which are in force."""

from __future__ import annotations

import click

from chatapi.cli.context import with_runtime
from chatapi.cli.output import EXIT_CODES, show
from chatapi.domain.effective_limits import EffectiveLimit, LimitSetting, read_limit
from chatapi.domain.limits import Metric, Scope
from chatapi.domain.money import in_dollars
from chatapi.domain.windows import Window
from chatapi.errors import InvalidInput
from chatapi.logic import limits as logic
from chatapi.logic.limits import LimitTarget
from chatapi.logic.runtime import Runtime


@click.group(epilog=EXIT_CODES)
def limits() -> None:
    """Set limits, and show which are in force."""


@limits.command("set", epilog=EXIT_CODES)
@click.argument("value")
@click.option("--user", help="For this user.")
@click.option("--each-user-of", metavar="TENANT", help="For every user of this tenant that has no limit of its own.")
@click.option("--tenant", help="For this tenant as a whole, all its users together.")
@click.option(
    "--metric",
    type=click.Choice([metric.value for metric in Metric]),
    default="requests",
    show_default=True,
    help="What is limited.",
)
@click.option(
    "--window",
    type=click.Choice(["at-once", "minute", "day", "month"]),
    default="day",
    show_default=True,
    help="Over how long it is counted; at-once is what calls in flight may hold together.",
)
@click.option("--model", default="", help="Only for this model, as the upstream names it; else for all together.")
@with_runtime
def set_limit(
    runtime: Runtime,
    value: str,
    *,
    user: str | None,
    each_user_of: str | None,
    tenant: str | None,
    metric: str,
    window: str,
    model: str,
) -> None:
    """Limit a user, each user of a tenant, or a tenant to VALUE requests or tokens a minute, day or month, or at once;
    or, with --metric cost, to VALUE US dollars, such as 12.50.

    VALUE is a number (0: nothing at all), "unlimited", or "inherit" to remove what was set: a user then has its
    tenant's limit for each user, or else the installation's. It holds from the next call on. Where cost is limited,
    models without a known price are refused.
    """
    target = LimitTarget.of(user=user, each_user_of=each_user_of, tenant=tenant)
    logic.set_limit(runtime, target, Metric(metric), Window(window.replace("-", "_")), _setting(value, metric), model)
    what = f"{metric} {window.replace('-', ' ')}" if window == "at-once" else f"{metric} per {window}"
    of_model = f" with {model}" if model else ""
    click.echo(f"{what}{of_model} of {target.scope.replace('_', ' ')} {target.name}: {value}", err=True)


def _setting(value: str, metric: str) -> LimitSetting:
    try:
        return read_limit(value, Metric(metric))
    except ValueError as error:
        raise click.BadParameter(str(error).replace("empty", "inherit"), param_hint="VALUE") from None


@limits.command("show", epilog=EXIT_CODES)
@click.option("--user", help="Of this user: all that its calls must keep.")
@click.option("--tenant", help="Of this tenant, and of its users that have none of their own.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list; value null is unlimited; cost in nano-dollars.")
@with_runtime
def show_limits(runtime: Runtime, user: str | None, tenant: str | None, as_json: bool) -> None:
    """Show the limits in force and where each comes from; without a name, those of every user.

    Sources: "own" was set for exactly this user or tenant, "each_user" for each user of the tenant, "default" is the
    installation's (CHATAPI_DAILY_REQUESTS, CHATAPI_DAILY_TOKENS). What is not listed is unlimited.
    """
    if user is not None and tenant is not None:
        raise InvalidInput("Name a user or a tenant, not both.")
    if user is not None:
        found = logic.user_limits(runtime, user)
    else:
        found = logic.tenant_limits(runtime, tenant) if tenant is not None else logic.default_limits(runtime)
    order = {scope: position for position, scope in enumerate(Scope)}
    found = tuple(sorted(found, key=lambda limit: (order[limit.scope], limit.metric, limit.window, limit.model)))
    rows = [_row(limit) for limit in found]
    if not as_json:
        rows = [{**row, "value": _readable(limit)} for row, limit in zip(rows, found, strict=True)]
    show(rows, ("scope", "metric", "window", "model", "value", "source"), as_json=as_json)


def _row(limit: EffectiveLimit) -> dict[str, object]:
    return {
        "scope": limit.scope.value,
        "metric": limit.metric.value,
        "window": limit.window.value,
        "model": limit.model,
        "value": limit.value,
        "source": limit.source.value,
    }


def _readable(limit: EffectiveLimit) -> object:
    if limit.value is None:
        return "unlimited"
    return in_dollars(limit.value) if limit.metric is Metric.COST else limit.value
