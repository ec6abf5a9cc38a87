"""`chatapi usage`, `sweep` and `audit`: what the ledger says, and whether it is right."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import click
import orjson

from chatapi.cli.context import with_runtime
from chatapi.cli.output import EXIT_CODES
from chatapi.cli.tables import write_csv, write_json, write_table
from chatapi.domain.money import in_dollars
from chatapi.domain.usage_reports import (
    DEFAULT_GROUPS,
    Group,
    Period,
    UsageFilter,
    UsageRow,
    as_record,
    columns_of,
    read_groups,
)
from chatapi.logic import audit as auditing
from chatapi.logic import keeping
from chatapi.logic import usage as reporting
from chatapi.logic.runtime import Runtime

A_DAY = click.DateTime(formats=["%Y-%m-%d"])
COLUMNS = (
    "tenant", "day", "user", "model", "requests", "prompt_tokens", "completion_tokens", "total_tokens", "cost",
)  # fmt: skip
CONTRACT_COLUMNS = (
    "tenant", "user", "model", "day", "requests", "prompt_tokens", "completion_tokens", "total_tokens",
    "cost_nanodollars",
)  # fmt: skip


class Groups(click.ParamType[tuple[Group, ...]]):
    """An argument such as `tenant,model`."""

    name = "groups"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Group, ...]:
        """Read it, or say what is wrong with it."""
        try:
            return value if isinstance(value, tuple) else read_groups(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(epilog=EXIT_CODES)
@click.option("--tenant", help="Only this tenant.")
@click.option("--user", help="Only this user.")
@click.option("--model", help="Only this model.")
@click.option(
    "--access-token", "access_token_id", type=click.UUID, help="Only calls with this access token, by its id."
)
@click.option("--from", "first", type=A_DAY, help="Only this day and later, as the tenant's calendar has it.")
@click.option("--to", "last", type=A_DAY, help="Only this day and earlier.")
@click.option(
    "--group-by",
    "groups",
    type=Groups(),
    help="tenant, user, access_token and model, some of them with commas between, or none.  [tenant,user,model]",
)
@click.option("--by", type=click.Choice([period.value for period in Period]), help="What a row is about.  [day]")
@click.option("--csv", "as_csv", is_flag=True, help="CSV, for spreadsheets.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list, one object a line.")
@with_runtime
def usage(runtime: Runtime, /, as_csv: bool, as_json: bool, **filters: Any) -> None:
    """Show what was charged, by tenant, day, user and model, or grouped otherwise.

    Requests are answered calls. Days are those of the tenant's time zone. Costs are US dollars, with --json and --csv
    nano-dollars. Where the price of any call is not known the cost is said to be unknown (--json: null);
    docs/models.md says how to give a model a price.
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json are two different things.")
    wanted, as_ever = _wanted(**filters), filters["groups"] is None and filters["by"] is None
    rows = reporting.report(runtime, wanted)
    if as_json or as_csv:
        records = (reporting.contract_record(row) if as_ever else as_record(row, wanted) for row in rows)
        columns = CONTRACT_COLUMNS if as_ever else columns_of(wanted)
        write_json(records) if as_json else write_csv(columns, records)
        return
    columns = COLUMNS if as_ever else _readable_columns(wanted)
    write_table(columns, (_readable(row, wanted) for row in rows))


@click.command()
@click.option("--no-wait", is_flag=True, help="Sweep at once: you know that the database was reachable all the time.")
@with_runtime
def sweep(runtime: Runtime, no_wait: bool) -> None:
    """Expire the calls of workers that died, and calls past their deadline. Running workers do this by themselves.

    In an outage of the database every worker looks dead, also the living. So this waits first until the database has
    answered for one lease time (CHATAPI_LEASE_S), in which the living renew their leases.
    """
    if not no_wait:
        for left_s in keeping.await_renewals(runtime):
            click.echo(f"Waiting for living workers to renew their leases: {left_s:.0f} s", err=True)
    total = 0
    for expired in keeping.sweep_in_batches(runtime):
        total += expired
        click.echo(f"Expired so far: {total}", err=True)
    click.echo(f"{total} calls expired.")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="A JSON list of what was found.")
@with_runtime
def audit(runtime: Runtime, as_json: bool) -> None:
    """Check the ledger's invariants on the live database; exit with 1 when one is broken.

    It reads one snapshot and changes nothing. docs/INVARIANTS.md says what each invariant is and what to do.
    """
    findings = auditing.run(runtime)
    if as_json:
        click.echo(orjson.dumps(findings, option=orjson.OPT_INDENT_2))
    else:
        for line in auditing.lines(findings):
            click.echo(line)
        if not findings:
            click.echo("The invariants I1 to I7 hold.")
    if findings:
        raise click.exceptions.Exit(1)


def _wanted(
    first: datetime | None,
    last: datetime | None,
    access_token_id: UUID | None,
    groups: tuple[Group, ...] | None,
    by: str | None,
    **names: str | None,
) -> UsageFilter:
    """What the options say."""
    return UsageFilter(
        **names,
        first_day=first.date().isoformat() if first else None,
        last_day=last.date().isoformat() if last else None,
        access_token_id=None if access_token_id is None else str(access_token_id),
        group_by=DEFAULT_GROUPS if groups is None else groups,
        by=Period(by or Period.DAY),
    )


def _readable_columns(wanted: UsageFilter) -> tuple[str, ...]:
    """What people are shown: names rather than ids, except of access tokens, and one cost."""
    left_out = {"tenant_id", "user_id", "cost_nanodollars", "known_cost_nanodollars"}
    return (*(column for column in columns_of(wanted) if column not in left_out), "cost")


def _readable(row: UsageRow, wanted: UsageFilter) -> dict[str, object]:
    cost = "unknown" if row.figures.unpriced else in_dollars(row.figures.cost)
    return {**as_record(row, wanted), "cost": cost}
