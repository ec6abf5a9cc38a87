"""Usage as the service reports it: what was charged, grouped and filtered, by local day or month."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing

from chatapi.domain.actors import Actor
from chatapi.domain.principals import Role
from chatapi.domain.usage_reports import Record, UsageFigures, UsageFilter, UsageRow, as_record, columns_of
from chatapi.errors import Forbidden, NotFound
from chatapi.logic.renderings import csv_text, json_object
from chatapi.logic.row_streams import RowStream
from chatapi.logic.runtime import Runtime
from chatapi.storage import accounts, reports, statements
from chatapi.storage.accounts import Transaction

__all__ = ["UsageFilter", "UsageRow", "contract_record", "open_report", "report"]


def report(runtime: Runtime, wanted: UsageFilter) -> Iterator[UsageRow]:
    """Usage from the roll-ups, in the order of tenant, day or month, user, access token and model, read as it is asked
    for. For who runs a command: it may be of all tenants, and take its time.

    Raises:
        NotFound: there is no tenant or user of that name: it would look as if nothing had been charged.
        DatabaseUnavailable: the database cannot answer.
    """
    with runtime.database.read() as connection:
        if wanted.tenant is not None and not accounts.find_tenants(connection, [wanted.tenant]):
            raise NotFound(f"There is no tenant {wanted.tenant!r}.")
        if wanted.user is not None and accounts.find_user(connection, wanted.user) is None:
            raise NotFound(f"There is no user {wanted.user!r}.")
    return reports.usage(runtime.database, wanted)


def contract_record(row: UsageRow) -> Record:
    """A row by tenant, user, model and day as `chatapi usage --json` has always said it.

    The cost is null where that of any call is unknown: what is unknown is not zero.
    """
    figures = row.figures
    return {
        "tenant": row.tenant,
        "user": row.user,
        "model": row.model,
        "day": row.period,
        "requests": figures.requests,
        "prompt_tokens": figures.prompt_tokens,
        "completion_tokens": figures.completion_tokens,
        "total_tokens": figures.total_tokens,
        "cost_nanodollars": None if figures.unpriced else figures.cost,
    }


def open_report(runtime: Runtime, actor: Actor, wanted: UsageFilter, *, as_csv: bool = False) -> RowStream:
    """A report for who asks over HTTP, as JSON or CSV, made while it is read.

    Args:
        runtime: what to work with.
        actor: an operator, where no tenant is named by its id.
        wanted: what of.
        as_csv: the rows alone; else a JSON object with the rows in `data` and what they come to in `total`.

    Raises:
        Forbidden: of all tenants only operators may have one.
        NotFound: there is no such tenant, or it is out of reach.
        Overloaded, DatabaseUnavailable: not now.
    """
    if wanted.tenant_id is None and not actor.is_at_least(Role.OPERATOR):
        raise Forbidden
    if wanted.tenant_id is not None and not actor.reaches(wanted.tenant_id):
        raise NotFound("There is no such tenant.")
    return RowStream(_pieces(runtime, wanted, as_csv=as_csv), runtime.settings.report_s)


def _pieces(runtime: Runtime, wanted: UsageFilter, *, as_csv: bool) -> Generator[bytes, None, None]:
    with reports.reading(runtime.database, runtime.settings.report_s) as connection:
        head = _head(runtime, connection, wanted)
        with closing(reports.usage_rows(connection, wanted)) as rows:
            if as_csv:
                yield from csv_text(columns_of(wanted), (as_record(row, wanted) for row in rows))
            else:
                yield from _json(head, rows, wanted)


def _json(head: Record, rows: Iterator[UsageRow], wanted: UsageFilter) -> Iterator[bytes]:
    total = UsageFigures()

    def records() -> Iterator[Record]:
        nonlocal total
        for row in rows:
            total = total.plus(row.figures)
            yield as_record(row, wanted)

    def tail() -> Iterator[tuple[str, object]]:
        yield "total", total.as_record()

    return json_object(head, "data", records(), tail())


def _head(runtime: Runtime, connection: Transaction, wanted: UsageFilter) -> Record:
    """What is said before the rows; of one tenant its time zone, too."""
    head: Record = {"object": "list", "from": wanted.first_day, "to": wanted.last_day, "by": wanted.by.value}
    head["group_by"] = ",".join(wanted.group_by) or "none"
    if wanted.tenant_id is not None:
        tenant = statements.find_tenant(connection, wanted.tenant_id)
        if tenant is None:
            raise NotFound("There is no such tenant.")
        head["timezone"] = tenant.zone.at(runtime.database.now(connection)).key
    return head
