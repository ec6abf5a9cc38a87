"""`chatapi statement`: what a tenant was charged in a month."""

from __future__ import annotations

from collections.abc import Iterable

import click

from chatapi.cli.context import with_runtime
from chatapi.cli.tables import write_pieces, write_table
from chatapi.domain.money import in_dollars
from chatapi.domain.statements import Check, LocalMonth
from chatapi.domain.usage_reports import UsageFigures, UsageRow
from chatapi.logic import statements as logic
from chatapi.logic.runtime import Runtime
from chatapi.logic.statements import OpenStatement

EXIT_CODES = (
    "Exit codes: 0 the figures agree; 1 they do not, or it failed, and standard error says why; 2 called wrongly."
)
FIGURES = (
    "requests", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "total_tokens", "cost",
)  # fmt: skip


class MonthOfYear(click.ParamType[LocalMonth]):
    """An argument such as `2026-11`."""

    name = "YYYY-MM"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> LocalMonth:
        """Read it, or say what is wrong with it."""
        try:
            return value if isinstance(value, LocalMonth) else LocalMonth.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(epilog=EXIT_CODES)
@click.argument("tenant")
@click.argument("month", type=MonthOfYear(), metavar="YYYY-MM")
@click.option("--csv", "as_csv", is_flag=True, help="Its lines, sums by model and total as CSV, for spreadsheets.")
@click.option("--json", "as_json", is_flag=True, help="All of it as a JSON object.")
@with_runtime
def statement(runtime: Runtime, /, tenant: str, month: LocalMonth, *, as_csv: bool, as_json: bool) -> None:
    """Show what TENANT was charged in a month of its calendar, in all, by model, and by user and model.

    It says what may still change (calls in flight, charged at their hold, of unknown price), and whether the lines, the
    total, the month's counter and the calls agree.
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json are two different things.")
    with logic.opened(runtime, tenant, month) as made:
        if as_json or as_csv:
            write_pieces(logic.as_json(made) if as_json else logic.as_csv_text(made))
        else:
            _write(made)
        broken = [check for check in made.checks() if not check.holds]
    for check in broken:
        click.echo(_disagreement(check), err=True)
    if broken:
        raise click.exceptions.Exit(1)


def _write(made: OpenStatement) -> None:
    head = logic.head_of(made.statement)
    state = "complete" if made.statement.is_complete else "not complete"
    click.echo(f"{head['tenant']}, {head['month']} ({head['timezone']}): {state}")
    click.echo(f"from {head['begins_at']} to {head['ends_at']}; made at {head['made_at']}\n")
    write_table(("user", "model", *FIGURES), (_readable(row.figures, row) for row in made.rows()))
    click.echo()
    write_table(("model", *FIGURES), (_readable(row.figures, row) for row in made.statement.by_model))
    click.echo()
    write_table(("total", *FIGURES), [_readable(made.statement.total)])
    click.echo()
    _say(logic.remarks(made.statement))


def _readable(figures: UsageFigures, row: UsageRow | None = None) -> dict[str, object]:
    cost = in_dollars(figures.cost)
    if figures.unpriced:
        cost = f"{cost} and {figures.unpriced:,} calls unpriced"
    place = {} if row is None else {"user": row.user, "model": row.model}
    return {**figures.as_record(), **place, "total": None, "cost": cost}


def _say(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        click.echo(sentence)


def _disagreement(check: Check) -> str:
    found = ", ".join(f"{name} {value}" for name, value in check.found.items() if check.expected[name] != value)
    total = ", ".join(f"{name} {value}" for name, value in check.expected.items() if check.found[name] != value)
    return f"The total does not agree with {check.what}: {total} there; {found} here. Run: chatapi audit"
