"""`chatapi limits`: set limits, list those that were set, and show which are in force and how they stand."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import click

from chatapi.cli.context import with_runtime
from chatapi.cli.output import EXIT_CODES, show
from chatapi.domain.effective_limits import LimitPlace, LimitSetting, read_limit
from chatapi.domain.limits import Metric
from chatapi.domain.money import in_dollars
from chatapi.domain.windows import Window
from chatapi.logic import effective_limits
from chatapi.logic import limits as logic
from chatapi.logic.actors import command_actor
from chatapi.logic.effective_limits import LimitStanding
from chatapi.logic.explain import utc
from chatapi.logic.limits import KeptLimit, LimitTarget
from chatapi.logic.runtime import Runtime

R = TypeVar("R")
AT_ONCE = 100  # in a page of all
WINDOWS = tuple(window.value.replace("_", "-") for window in Window)


def with_place(windows: tuple[str, ...]) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """The options that say which limit, --metric, --window (one of these) and --model, as the argument `place`."""

    def add(command: Callable[..., R]) -> Callable[..., R]:
        @wraps(command)
        def run(*args: object, metric: str, window: str, model: str, **kwargs: object) -> R:
            place = LimitPlace(Metric(metric), Window(window.replace("-", "_")), model)
            return command(*args, place=place, **kwargs)

        at_once = "; at-once is what calls in flight may hold together" if "at-once" in windows else ""
        for name, kind, default, what in (
            ("--model", str, "", "Only of this model, as the upstream names it; else of all together."),
            ("--window", click.Choice(windows), "day", f"Over how long it is counted{at_once}."),
            ("--metric", click.Choice([metric.value for metric in Metric]), "requests", "What is counted."),
        ):
            run = click.option(name, type=kind, default=default, show_default=bool(default), help=what)(run)
        return run

    return add


def readable(value: int | None, metric: Metric) -> object:
    """An amount as people read it: of cost in dollars."""
    return in_dollars(value) if metric is Metric.COST and value is not None else value


@click.group(epilog=EXIT_CODES)
def limits() -> None:
    """Set limits, list those that were set, and show which are in force and how they stand."""


@limits.command("set", epilog=EXIT_CODES)
@click.argument("value")
@click.option("--user", help="For this user.")
@click.option("--access-token", metavar="ID", help="For this access token, besides the limits of its user.")
@click.option("--each-user-of", metavar="TENANT", help="For every user of this tenant that has no limit of its own.")
@click.option("--tenant", help="For this tenant as a whole, all its users together.")
@with_place(WINDOWS)
@with_runtime
def set_limit(
    runtime: Runtime,
    value: str,
    *,
    user: str | None,
    access_token: str | None,
    each_user_of: str | None,
    tenant: str | None,
    place: LimitPlace,
) -> None:
    """Limit a user, an access token, each user of a tenant, or a tenant to VALUE requests or tokens a minute, day or
    month, or at once; or, with --metric cost, to VALUE US dollars, such as 12.50.

    VALUE is a number (0: nothing at all), "unlimited", or "inherit" to remove what was set: a user then has its
    tenant's limit for each user, or else the installation's. It holds from the next call on. Where cost is limited,
    models without a known price are refused.
    """
    target = LimitTarget.of(user=user, each_user_of=each_user_of, tenant=tenant, access_token=access_token)
    logic.set_limit(runtime, command_actor(), target, place, _setting(value, place.metric))
    click.echo(f"{place}, {target}: {value}", err=True)


def _setting(value: str, metric: Metric) -> LimitSetting:
    try:
        return read_limit(value, metric)
    except ValueError as error:
        raise click.BadParameter(str(error).replace("empty to inherit", "'inherit'"), param_hint="VALUE") from None


@limits.command("show", epilog=EXIT_CODES)
@click.option("--user", help="Of this user: all that its calls must keep.")
@click.option("--access-token", metavar="ID", help="Of this access token: all that its calls must keep.")
@click.option("--tenant", help="Of this tenant, and of its users that have none of their own.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list; value null is unlimited; cost in nano-dollars.")
@with_runtime
def show_limits(
    runtime: Runtime, user: str | None, access_token: str | None, tenant: str | None, as_json: bool
) -> None:
    """Show the limits in force, where each comes from and how it stands; without a name, those of every user.

    Sources: "own" was set for exactly this user, access token or tenant, "each_user" for each user of the tenant,
    "default" is the installation's (CHATAPI_DAILY_REQUESTS, CHATAPI_DAILY_TOKENS). "granted" is how much of the value
    was granted for the window that is open (see chatapi grants). What is not listed is unlimited.
    """
    if user is access_token is tenant is None:
        found = effective_limits.default_limits(runtime)
    else:
        target = LimitTarget.of(user=user, access_token=access_token, tenant=tenant)
        found = effective_limits.standings_of(runtime, target)
    rows = [_row(standing, as_json=as_json) for standing in found]
    names = ("scope", "metric", "window", "model", "value", "source", "granted", "used", "held", "left", "resets_at")
    show(rows, names, as_json=as_json)


def _row(standing: LimitStanding, *, as_json: bool) -> dict[str, object]:
    row = effective_limits.standing_record(standing)
    row["model"] = row["model"] or ""
    del row["resets_after_s"]
    if as_json:
        return row
    metric = standing.limit.metric
    figures = {name: readable(getattr(standing, name), metric) for name in ("used", "held", "left")}
    figures["granted"] = readable(standing.limit.granted or None, metric)
    value = "unlimited" if standing.limit.value is None else readable(standing.limit.value, metric)
    return row | figures | {"value": value}


@limits.command("list", epilog=EXIT_CODES)
@click.option("--tenant", required=True, help="Of this tenant, its users and their access tokens.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list; value null is unlimited; cost in nano-dollars.")
@with_runtime
def list_limits(runtime: Runtime, tenant: str, as_json: bool) -> None:
    """List the limits that were set in a tenant, and when."""
    target, rows = LimitTarget.of(tenant=tenant), list[dict[str, object]]()
    found: list[KeptLimit] = []
    while page := logic.page_of_limits(runtime, target, logic.LimitFilter(), found[-1].key if found else None, AT_ONCE):
        found = page
        rows += [_kept_row(kept, as_json=as_json) for kept in found]
    show(rows, ("scope", "user", "access_token", "metric", "window", "model", "value", "changed_at"), as_json=as_json)


def _kept_row(kept: KeptLimit, *, as_json: bool) -> dict[str, object]:
    row, value = kept.row, kept.row.value
    if not as_json:
        value = "unlimited" if value is None else readable(value, row.metric)  # type: ignore[assignment]
    return {
        "scope": row.scope,
        "user": kept.username,
        "access_token": row.scope_id if row.scope == "access_token" else None,
        "metric": row.metric.value,
        "window": row.window.value,
        "model": row.model,
        "value": value,
        "changed_at": utc(kept.changed_at),
    }
