"""`chatapi reconcile`: whether a provider's bill says what the ledger says."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import IO

import click
import orjson

from chatapi.cli.context import with_runtime
from chatapi.cli.tables import write_table
from chatapi.logic import reconcile as logic
from chatapi.logic.runtime import Runtime

EXIT_CODES = (
    "Exit codes: 0 nothing differs; 1 something does, or could not be compared, or a file could not be read, and"
    " standard error says which line and why; 2 called wrongly."
)
COLUMNS = ("day", "model", "figure", "ours", "theirs", "difference", "note")


class Percent(click.ParamType[Decimal]):
    """An argument such as `0.5`."""

    name = "percent"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """Read it as a share, or say what is wrong with it."""
        if isinstance(value, Decimal):
            return value
        try:
            percent = Decimal(str(value).removesuffix("%"))
        except InvalidOperation:
            percent = Decimal(-1)
        if not 0 <= percent <= 100:
            self.fail(f"{value!r} is no number from 0 to 100", param, ctx)
        return percent / 100


class Names(click.ParamType[tuple[str, str]]):
    """An argument such as `gpt 4o=prod`."""

    name = "theirs=ours"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Read it, or say what is wrong with it."""
        if isinstance(value, tuple):
            return value
        theirs, _, ours = str(value).partition("=")
        if not theirs or not ours:
            self.fail(f"{value!r} does not say THEIRS=OURS", param, ctx)
        return theirs, ours


@click.command(epilog=EXIT_CODES)
@click.argument("files", type=click.File("rb"), nargs=-1, required=True, metavar="FILE...")
@click.option("--upstream", help="Whose export it is, by its name here.  [the only one that is configured]")
@click.option("--tenant", "tenants", multiple=True, help="Only this tenant's calls; may be repeated.")
@click.option("--without", multiple=True, help="All but this tenant's calls; may be repeated.")
@click.option("--model", "names", type=Names(), multiple=True, help="A model's name in the export, and its name here.")
@click.option("--tolerance", type=Percent(), default=Decimal(0), help="How many percent two figures may differ.  [0]")
@click.option("--json", "as_json", is_flag=True, help="All rows, also those that agree, as a JSON object.")
@with_runtime
def reconcile(
    runtime: Runtime,
    /,
    files: tuple[IO[bytes], ...],
    upstream: str | None,
    tenants: tuple[str, ...],
    without: tuple[str, ...],
    names: tuple[tuple[str, str], ...],
    *,
    tolerance: Decimal,
    as_json: bool,
) -> None:
    """Compare the ledger with a provider's export of usage or costs, by day (UTC) and model, and show differences.

    FILE is OpenAI's usage or costs (CSV of the dashboard, JSON of the API), or Azure's costs (CSV or JSON of Cost
    Management); several files are one export. docs/administration/reports.md says how to get them.
    """
    wanted = logic.Wanted(upstream, tenants, without, dict(names), tolerance)
    done = logic.reconcile(
        runtime, logic.read_export((getattr(file, "name", "<stdin>"), file) for file in files), wanted
    )
    if as_json:
        click.echo(orjson.dumps(logic.as_record(done), option=orjson.OPT_INDENT_2))
    else:
        _write(done)
    if not done.agrees:
        raise click.exceptions.Exit(1)


def _write(done: logic.Reconciled) -> None:
    comparison, record = done.comparison, logic.as_record(done)
    click.echo(f"{done.upstream} from {record['from']} to {record['to']}: {len(comparison.rows):,} days and models")
    if comparison.differing:
        click.echo(f"{comparison.differing:,} of them differ:\n")
        write_table(COLUMNS, logic.differences(comparison))
        click.echo()
    else:
        click.echo("Nothing differs.")
    for remark in done.remarks:
        click.echo(remark)
