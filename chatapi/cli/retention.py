"""`chatapi retention`: taking away old calls."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field

import click
import orjson

from chatapi.cli.context import with_runtime
from chatapi.cli.output import progress_bar
from chatapi.domain.retention import Keep
from chatapi.logic import retention as logic
from chatapi.logic.runtime import Runtime


class KeepTime(click.ParamType[Keep]):
    """An argument such as `13months`."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Keep:
        """Read it, or say what is wrong with it."""
        try:
            return value if isinstance(value, Keep) else Keep.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@dataclass
class Summary:
    """What a run did, or with `dry_run` would have done. Calls of days before `calls_before` are old."""

    dry_run: bool
    calls_before: str
    months_dropped: list[str] = field(default_factory=list)
    calls_dropped: int = 0
    calls_deleted: int = 0
    held_calls_kept: int = 0
    months_made: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def lines(self) -> list[str]:
        """The same for people."""
        were = "would be" if self.dry_run else "were"
        gone = self.calls_dropped + self.calls_deleted
        said = [f"{gone:,} calls of days before {self.calls_before} {were} deleted. Counters and roll-ups stay."]
        if self.months_dropped:
            months = ", ".join(self.months_dropped)
            said.append(f"{self.calls_dropped:,} of them {were} dropped with their months: {months}")
        if self.held_calls_kept:
            said.append(f"{self.held_calls_kept:,} old calls are still held and stay. Run: chatapi sweep")
        if self.dry_run:
            said.append("Dry run, nothing was changed.")
        return said


@click.command()
@click.option(
    "--keep",
    required=True,
    type=KeepTime(),
    help="For how long calls are kept: 13months, 400days, 60weeks, 2years; 31days or 1month at the least.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("--json", "as_json", is_flag=True, help="The summary as a JSON object.")
@with_runtime
def retention(runtime: Runtime, keep: Keep, dry_run: bool, as_json: bool) -> None:
    """Delete calls that are older than --keep. Counters and roll-ups, and so limits and usage, stay.

    Safe while the service serves, and to be killed: the next run goes on. On PostgreSQL months that are old as a whole
    are dropped, and what is old in a month that is not stays until the month is. Held calls are never deleted.
    """
    begun_at = time.monotonic()
    summary = _look(runtime, keep) if dry_run else _cut(runtime, keep)
    summary.seconds = round(time.monotonic() - begun_at, 3)
    if as_json:
        click.echo(orjson.dumps(asdict(summary), option=orjson.OPT_INDENT_2))
        return
    for line in summary.lines():
        click.echo(line)


def _look(runtime: Runtime, keep: Keep) -> Summary:
    old = logic.find_old(runtime, keep)
    months, dropped = [str(month) for month in old.months], sum(month.calls for month in old.months.values())
    return Summary(True, old.first_day, months, dropped, sum(old.rows.values()), old.held)


def _cut(runtime: Runtime, keep: Keep) -> Summary:
    made = logic.make_partitions(runtime)
    old = logic.find_old(runtime, keep)
    summary = Summary(False, old.first_day, held_calls_kept=old.held, months_made=[str(month) for month in made])
    with progress_bar("Deleting old calls") as progress:
        for month, dropped in logic.drop_months(runtime, old):
            summary.months_dropped.append(str(month))
            summary.calls_dropped += dropped
            progress(summary.calls_dropped, old.calls)
        for deleted in logic.delete_in_batches(runtime, old):
            summary.calls_deleted += deleted
            progress(summary.calls_dropped + summary.calls_deleted, old.calls)
    return summary
