"""`chatapi usage`, `sweep` and `audit`: what the ledger says, and whether it is right."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import click
import orjson

from chatapi.cli.context import with_runtime
from chatapi.cli.output import show
from chatapi.domain.money import in_dollars
from chatapi.logic import audit as auditing
from chatapi.logic import keeping
from chatapi.logic import usage as reporting
from chatapi.logic.runtime import Runtime

A_DAY = click.DateTime(formats=["%Y-%m-%d"])
COLUMNS = (
    "tenant", "day", "user", "model", "requests", "prompt_tokens", "completion_tokens", "total_tokens", "cost",
)  # fmt: skip


@click.command()
@click.option("--tenant", help="Only this tenant.")
@click.option("--user", help="Only this user.")
@click.option("--from", "first", type=A_DAY, help="Only this day and later, as the tenant's calendar has it.")
@click.option("--to", "last", type=A_DAY, help="Only this day and earlier.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list, one object a line.")
@with_runtime
def usage(
    runtime: Runtime, tenant: str | None, user: str | None, first: datetime | None, last: datetime | None, as_json: bool
) -> None:
    """Show what users were charged, by tenant, day, user and model.

    Requests are answered calls. Costs are US dollars, with --json nano-dollars. Where the price of any call is not
    known the cost is said to be unknown (--json: null); docs/models.md says how to give a model a price.
    """
    days = (day.date().isoformat() if day else None for day in (first, last))
    rows = reporting.report(runtime, reporting.UsageFilter(tenant, user, *days))
    if as_json:
        _write_json(rows)
    else:
        show([_readable(row) for row in rows], COLUMNS, as_json=False)


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


def _write_json(rows: Iterable[reporting.UsageRow]) -> None:
    before = b"[\n"
    for row in rows:
        click.echo(before + orjson.dumps(reporting.as_record(row)), nl=False)
        before = b",\n"
    click.echo(b"[]" if before == b"[\n" else b"\n]")


def _readable(row: reporting.UsageRow) -> dict[str, object]:
    record = reporting.as_record(row)
    cost = "unknown" if row.unpriced else in_dollars(row.cost)
    return {name: f"{value:,}" if isinstance(value, int) else value for name, value in record.items()} | {"cost": cost}
